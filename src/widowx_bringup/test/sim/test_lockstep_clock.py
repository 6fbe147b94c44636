"""When simulated time is paused."""

from __future__ import annotations

import pytest

from widowx_bringup.sim import lockstep_clock
from widowx_bringup.sim.lockstep_clock import COMMAND_TIMEOUT_NS, LockstepClock

SECOND = 1_000_000_000
NEVER = 10**18


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Real time, as a list of one number that a test may change."""
    now = [100.0]
    monkeypatch.setattr(lockstep_clock.time, "monotonic", lambda: now[0])
    return now


def test_time_passes_when_no_node_is_waited_for() -> None:
    assert not LockstepClock(2.0).must_pause(5 * SECOND, 0)


def test_time_waits_for_the_next_command_but_not_for_ever(clock: list[float]) -> None:
    lockstep = LockstepClock(2.0)
    lockstep.on_command(SECOND)
    due = SECOND + COMMAND_TIMEOUT_NS
    assert not lockstep.must_pause(due - 1, NEVER)
    assert lockstep.must_pause(due, NEVER)
    clock[0] += 1.9
    assert lockstep.must_pause(due, NEVER)
    clock[0] += 0.2
    assert not lockstep.must_pause(due, NEVER)
    assert not lockstep.must_pause(due + SECOND, NEVER)


def test_command_lets_time_go_on(clock: list[float]) -> None:
    lockstep = LockstepClock(2.0)
    lockstep.on_command(SECOND)
    assert lockstep.must_pause(SECOND + COMMAND_TIMEOUT_NS, NEVER)
    lockstep.on_command(SECOND + SECOND // 5)
    assert not lockstep.must_pause(SECOND + COMMAND_TIMEOUT_NS, NEVER)
    assert not lockstep.paused


def test_time_waits_for_the_image_of_the_last_state(clock: list[float]) -> None:
    lockstep = LockstepClock(2.0)
    lockstep.on_image(1)
    lockstep.on_state(2)
    assert not lockstep.must_pause(9, next_state_ns=10)
    assert lockstep.must_pause(10, next_state_ns=10)
    lockstep.on_image(2)
    assert not lockstep.must_pause(10, next_state_ns=10)


def test_camera_that_stops_is_no_longer_waited_for(clock: list[float]) -> None:
    lockstep = LockstepClock(2.0)
    lockstep.on_image(1)
    lockstep.on_state(2)
    assert lockstep.must_pause(10, next_state_ns=10)
    clock[0] += 2.1
    assert not lockstep.must_pause(10, next_state_ns=10)
    lockstep.on_state(3)
    assert not lockstep.must_pause(20, next_state_ns=20)


def test_without_camera_nothing_is_waited_for() -> None:
    lockstep = LockstepClock(2.0)
    lockstep.on_state(2)
    assert not lockstep.must_pause(10, next_state_ns=10)


def test_no_command_is_expected_between_episodes() -> None:
    lockstep = LockstepClock(2.0)
    lockstep.on_command(SECOND)
    lockstep.expect_no_command()
    assert not lockstep.must_pause(10 * SECOND, NEVER)
