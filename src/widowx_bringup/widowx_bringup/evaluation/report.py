"""`ptr report`: the page about a demonstration run, a session, or several sessions together."""

from __future__ import annotations

import argparse
from pathlib import Path

from ptr_common.arguments import VerbParser

from .report_page import write_report
from .session import journal

DESCRIPTION = """Write the page about a demonstration run or about sessions.

  ptr report runs/demo                          what `ptr demo` made
  ptr report runs/session                       the same as `ptr session report`
  ptr report runs/monday runs/friday --out runs/both      sessions of the same task and methods
"""


def main(argv: list[str]) -> int:
    """Write the page about a demonstration run, a session, or several sessions together."""
    parser = VerbParser("report", DESCRIPTION)
    parser.add_argument(
        "run",
        type=Path,
        nargs="+",
        help="folder given to `ptr demo --out` or `ptr session run --out`",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the report of several sessions (default: none)"
    )
    parser.add_argument(
        "--mixed",
        action="store_true",
        help="merge sessions that differ in task, limit, camera or bundles (default: refused)",
    )
    options = parser.parse_args(argv)
    print(f"report: {_write(parser, options)}")
    return 0


def _write(parser: VerbParser, options: argparse.Namespace) -> Path:
    """Write the report that is asked for, and return its path."""
    folders: list[Path] = options.run
    several = len(folders) > 1
    if several != (options.out is not None):
        parser.error("--out goes with several sessions, which need it")
    if options.mixed and not several:
        parser.error("--mixed goes with several sessions")
    if several:
        from .session.report.merge import write_merged_report

        out: Path = options.out
        return write_merged_report(folders, out, mixed=options.mixed)
    if (folders[0] / journal.FILE).exists():
        from .session.report.page import write_session_report

        return write_session_report(folders[0])
    return write_report(folders[0])
