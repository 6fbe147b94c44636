"""Progress of long work: lines in a log."""

from __future__ import annotations

import io
import re
import sys

import pytest
from tqdm import tqdm

from ptr_common.progress import LogProgress, progress


def test_without_a_terminal_there_are_lines_and_the_last_one_is_complete() -> None:
    log = io.StringIO()
    for _ in progress(range(3), desc="record", unit="bag", file=log, mininterval=0):
        pass
    lines = log.getvalue().splitlines()
    assert [line[:14] for line in lines] == [
        "record: 1/3 ba",
        "record: 2/3 ba",
        "record: 3/3 ba",
    ]
    assert re.fullmatch(r"record: 3/3 bag, 00:00 < 00:00, .*bag/s", lines[-1])
    assert "\r" not in log.getvalue()


def test_lines_come_at_an_interval_and_tell_what_was_set_last() -> None:
    log = io.StringIO()
    with progress(total=100, desc="x", unit="bag", file=log) as bar:
        for number in range(100):
            bar.update()
            bar.set_postfix(failed=number)
    (line,) = log.getvalue().splitlines()
    assert line.startswith("x: 100/100 bag")
    assert line.endswith(", failed=99")


def test_nothing_done_writes_nothing() -> None:
    log = io.StringIO()
    with progress(total=3, file=log):
        pass
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress(total=3) as bar:
        assert type(bar) is tqdm
    assert issubclass(LogProgress, tqdm)
