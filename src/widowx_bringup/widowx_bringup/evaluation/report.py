"""`ptr report`: writes the page about a demonstration run again."""

from __future__ import annotations

from pathlib import Path

from ptr_common.arguments import VerbParser

from .report_page import write_report


def main(argv: list[str]) -> int:
    """Write the page about a demonstration run."""
    parser = VerbParser("report", main.__doc__)
    parser.add_argument("run", type=Path, help="folder given to `ptr demo --out`")
    options = parser.parse_args(argv)
    print(f"report: {write_report(options.run)}")
    return 0
