"""When simulated time stands still."""

from __future__ import annotations

import pytest

from widowx_bringup.sim import lockstep_clock as pacing
from widowx_bringup.sim.lockstep_clock import LONGEST_ANSWER_NS, LockstepClock

SECOND = 1_000_000_000
NEVER = 10**18


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Real time, as a list of one number that a test may change."""
    now = [100.0]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: now[0])
    return now


def test_time_passes_when_nobody_is_waited_for() -> None:
    assert not LockstepClock(2.0).must_wait(5 * SECOND, 0)


def test_time_waits_for_the_next_command_but_not_for_ever(clock: list[float]) -> None:
    world = LockstepClock(2.0)
    world.answered(SECOND)
    due = SECOND + LONGEST_ANSWER_NS
    assert not world.must_wait(due - 1, NEVER)
    assert world.must_wait(due, NEVER)
    clock[0] += 1.9
    assert world.must_wait(due, NEVER)
    clock[0] += 0.2
    assert not world.must_wait(due, NEVER)
    assert not world.must_wait(due + SECOND, NEVER)


def test_command_lets_time_go_on(clock: list[float]) -> None:
    world = LockstepClock(2.0)
    world.answered(SECOND)
    assert world.must_wait(SECOND + LONGEST_ANSWER_NS, NEVER)
    world.answered(SECOND + SECOND // 5)
    assert not world.must_wait(SECOND + LONGEST_ANSWER_NS, NEVER)
    assert not world.waiting


def test_time_waits_for_the_picture_of_the_last_state(clock: list[float]) -> None:
    world = LockstepClock(2.0)
    world.drawn(1)
    world.show(2)
    assert not world.must_wait(9, next_state_ns=10)
    assert world.must_wait(10, next_state_ns=10)
    world.drawn(2)
    assert not world.must_wait(10, next_state_ns=10)


def test_camera_that_stops_drawing_is_no_longer_waited_for(clock: list[float]) -> None:
    world = LockstepClock(2.0)
    world.drawn(1)
    world.show(2)
    assert world.must_wait(10, next_state_ns=10)
    clock[0] += 2.1
    assert not world.must_wait(10, next_state_ns=10)
    world.show(3)
    assert not world.must_wait(20, next_state_ns=20)


def test_without_camera_nothing_is_waited_for() -> None:
    world = LockstepClock(2.0)
    world.show(2)
    assert not world.must_wait(10, next_state_ns=10)


def test_no_command_is_expected_between_episodes() -> None:
    world = LockstepClock(2.0)
    world.answered(SECOND)
    world.expect_no_command()
    assert not world.must_wait(10 * SECOND, NEVER)
