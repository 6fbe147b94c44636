"""Progress: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys

import pytest

from ptr_common import progress
from ptr_common.progress import StepProgress, format_duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only element is the time [s] that Progress sees."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_has_the_rate_since_the_last_one_and_the_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with StepProgress("run", 1000, "step", done=100) as shown:
        clock[0] += 10.0
        shown.report(150, "loss 0.5")
        clock[0] += 10.0
        shown.report(250, "loss 0.25")
    assert capsys.readouterr().err.splitlines() == [
        "run: step 150 of 1000, loss 0.5, 5.00 steps/s, 02:50 left",
        "run: step 250 of 1000, loss 0.25, 10.00 steps/s, 01:15 left",
    ]


def test_a_line_without_progress_does_not_guess_the_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with StepProgress("run", 10, "step") as shown:
        clock[0] += 1.0
        shown.report(0, "waiting")
    assert "0.00 steps/s, ? left" in capsys.readouterr().err


def test_nothing_is_shown_where_another_process_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with StepProgress("run", 10, "step", shown=False) as hidden:
        hidden.advance()
        hidden.show("loss 1")
        hidden.report(1, "loss 1")
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with StepProgress("run", 4, "step", done=1) as shown:
        shown.advance()
        shown.show("loss 0.5")
        shown.report(2, "loss 0.5")
    printed = capsys.readouterr().err
    assert "2/4" in printed
    assert "loss 0.5" in printed
    assert "steps/s," not in printed


def test_durations_have_hours_where_they_need_them() -> None:
    assert (format_duration(59.6), format_duration(3661.0)) == ("00:59", "1:01:01")
