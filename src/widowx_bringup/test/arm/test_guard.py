"""The guard in front of the arm, without ROS."""

from __future__ import annotations

import numpy as np
import pytest

from widowx_bringup.arm.guard import CommandGuard

SECOND = 1_000_000_000
STEP = np.array([0.01, 0, 0, 0, 0, 0, 1.0])


def make_guard(**options: bool) -> CommandGuard:
    return CommandGuard(max_age=0.2, max_silence=0.4, max_blindness=0.4, **options)


def test_fresh_command_passes() -> None:
    guard = make_guard()
    assert guard.check(STEP, 10 * SECOND, 10 * SECOND + SECOND // 10) == ""
    assert guard.rejected == 0


@pytest.mark.parametrize(
    ("action", "age", "reason"),
    [
        (np.full(7, np.nan), 0.0, "not finite"),
        (np.array([np.inf, *STEP[1:]]), 0.0, "not finite"),
        (STEP[:6], 0.0, "6 numbers"),
        (STEP, 0.3, "0.300 s old"),
        (STEP, -0.3, "in the future"),
    ],
)
def test_bad_command_is_refused_and_counted(
    action: np.ndarray, age: float, reason: str
) -> None:
    guard = make_guard()
    assert reason in guard.check(action, 10 * SECOND, 10 * SECOND + round(age * SECOND))
    assert guard.rejected == 1


def test_holding_arm_refuses_until_enabled() -> None:
    guard = make_guard()
    assert guard.hold("operator", "kind")
    assert "operator" in guard.check(STEP, 0, 0)
    guard.enable()
    assert guard.check(STEP, 0, 0) == ""


def test_first_reason_of_a_hold_stays_and_counts_once() -> None:
    guard = make_guard()
    assert guard.hold("first", "kind")
    assert not guard.hold("second", "kind")
    assert (guard.reason, guard.held) == ("first", 1)


def test_silence_counts_from_the_first_command_of_an_episode() -> None:
    guard = make_guard()
    guard.start("e")
    assert guard.silence(100 * SECOND) == ""
    guard.check(STEP, 100 * SECOND, 100 * SECOND)
    assert guard.silence(100 * SECOND + SECOND * 4 // 10) == ""
    assert "no command for 0.41 s" in guard.silence(100 * SECOND + SECOND * 41 // 100)


def test_refused_commands_do_not_break_the_silence() -> None:
    guard = make_guard()
    guard.start("e")
    guard.check(STEP, 0, 0)
    guard.check(np.full(7, np.nan), SECOND, SECOND)
    assert guard.silence(SECOND)


def test_silence_outside_an_episode_is_no_reason_to_hold() -> None:
    guard = make_guard()
    guard.start("e")
    guard.check(STEP, 0, 0)
    guard.end("e")
    assert guard.silence(100 * SECOND) == ""


def test_end_of_another_episode_says_nothing() -> None:
    guard = make_guard()
    guard.start("e")
    guard.check(STEP, 0, 0)
    guard.end("another")
    assert guard.silence(SECOND)


@pytest.mark.parametrize("resumes", [True, False])
def test_start_ends_a_hold_in_simulation_only(resumes: bool) -> None:
    guard = make_guard(resume_on_start=resumes)
    guard.hold("operator", "kind")
    guard.start("e")
    assert guard.holding is not resumes


def test_commands_wait_while_the_arm_is_busy() -> None:
    guard = make_guard()
    guard.busy = "moving to its start pose"
    assert guard.check(STEP, 0, 0) == "arm is moving to its start pose"
    guard.hold("operator", "kind")
    assert guard.busy == ""


def test_everything_refused_held_and_clipped_is_counted_by_kind() -> None:
    guard = make_guard()
    guard.check(np.zeros(6), 0, 0)
    guard.check(np.full(7, np.nan), 0, 0)
    guard.check(np.zeros(7), 0, SECOND)
    guard.check(np.zeros(7), SECOND, 0)
    guard.judge(True, False, "action bounds, joint speed limit")
    guard.judge(False, True, "no joints within the limits reach the target")
    guard.hold("the newest picture is 1 s old", "camera")
    guard.check(np.zeros(7), 0, 0)
    assert guard.kinds == {
        "rejected: length": 1,
        "rejected: not finite": 1,
        "rejected: late": 1,
        "rejected: early": 1,
        "rejected: gate": 1,
        "rejected: holding": 1,
        "clipped: action bounds": 1,
        "clipped: joint speed limit": 1,
        "held: camera": 1,
    }
    assert (guard.clipped, guard.held, guard.rejected) == (1, 1, 6)
