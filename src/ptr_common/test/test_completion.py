"""Shell completion, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptr_common.completion import parser_of

pytest.importorskip("argcomplete", reason="argcomplete is not installed")


def completions(tmp_path: Path, line: str) -> set[str]:
    """Return what the shell would offer after a line."""
    answer = tmp_path / "answer"
    request = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run(
        [sys.executable, "-m", "ptr_common.cli"], env={**os.environ, **request}, check=True
    )
    text = answer.read_text() if answer.exists() else ""
    return {word.strip() for word in text.split("\n") if word.strip()}


def test_verbs_complete(tmp_path: Path) -> None:
    assert completions(tmp_path, "ptr re") == {"record", "recover", "report", "review"}
    assert "--version" in completions(tmp_path, "ptr --")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ptr report --", {"--help"}),
        ("ptr demo --pre", {"--preset"}),
        ("ptr demo --preset ", {"full", "smoke"}),
    ],
)
def test_options_and_values_of_a_verb_complete(
    tmp_path: Path, line: str, offered: set[str]
) -> None:
    assert completions(tmp_path, line) == offered


def test_a_verb_that_does_not_exist_has_no_completions(tmp_path: Path) -> None:
    assert completions(tmp_path, "ptr fly --") == set()


def test_a_function_that_parses_nothing_has_no_parser() -> None:
    with pytest.raises(LookupError, match="parses no arguments"):
        parser_of(lambda _: None)
