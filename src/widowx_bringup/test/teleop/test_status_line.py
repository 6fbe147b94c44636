"""The status line: what it says, and that messages stay readable above it."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from widowx_bringup.teleop.status_line import CLEAR, StatusLine, TeleopStatus


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def state(**values: Any) -> Any:
    before = {"rejected": 0, "clipped": 0, "held": 0, "status": 0}
    proprio = [0.3, -0.0125, 0.1, 0.0, 1.5708, 0.0, 1.0]
    return SimpleNamespace(**{**before, "proprio": proprio, **values})


def test_messages_stand_above_the_line() -> None:
    terminal = Terminal()
    line = StatusLine(terminal)
    line.draw("x 0.3")
    line.draw("x 0.3")  # the same again writes nothing
    line.show("saved")
    line.close()
    assert terminal.getvalue() == f"{CLEAR}x 0.3{CLEAR}saved\nx 0.3{CLEAR}"


def test_the_line_is_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "6")
    terminal = Terminal()
    StatusLine(terminal).draw("0123456789")
    assert terminal.getvalue() == f"{CLEAR}01234"


def test_without_a_terminal_there_are_messages_alone() -> None:
    stream = io.StringIO()
    line = StatusLine(stream)
    line.draw("x 0.3")
    line.show("saved")
    line.close()
    assert stream.getvalue() == "saved\n"


def test_the_line_says_pose_gripper_speed_counts_and_the_age_of_the_image() -> None:
    status = TeleopStatus()
    status.on_state(state(rejected=5, clipped=1))
    status.on_state(state(rejected=7, clipped=1, status=1))
    assert status.line(speed=0.4, image_age=0.08, recorded=1.25) == (
        "RECORDING 1.2 s | HOLDS, x 0.300 y -0.013 z 0.100 m, rpy 0 90 0°, gripper 1.00 | "
        "speed 40% | rejected 2 clipped 0 held 0 | image 0.08 s old"
    )


def test_without_messages_the_line_says_what_is_missing() -> None:
    line = TeleopStatus().line(speed=1.0, image_age=None, recorded=None)
    assert line == "no arm | speed 100% | rejected 0 clipped 0 held 0 | no image"


def test_a_new_arm_node_counts_anew() -> None:
    status = TeleopStatus()
    status.on_state(state(rejected=5))
    status.on_state(state(rejected=1))
    status.on_state(state(rejected=2))
    assert status.counts() == "rejected 1 clipped 0 held 0"


def test_the_summary_counts_episodes_by_their_end() -> None:
    status = TeleopStatus()
    assert status.summary() == "episodes: none; commands: rejected 0 clipped 0 held 0"
    status.ended.update(["saved", "saved", "discarded"])
    assert status.summary().startswith("episodes: 2 saved, 1 discarded; ")
