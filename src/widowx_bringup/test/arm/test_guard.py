"""The guard in front of the arm, without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arm_strategies import allowed_steps
from hypothesis import given
from hypothesis import strategies as st

from ptr_common.stamps import FUTURE_TOLERANCE
from widowx_bringup.arm.guard import CLOCK_TOLERANCE, CommandGuard
from widowx_bringup.arm.refusal import Kind, Refusal, StepResult

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
STEP = np.array([0.01, 0, 0, 0, 0, 0, 1.0])
T0 = 100 * SECOND

MAX_AGE = 200 * MILLISECOND
COMMAND_TIMEOUT = 400 * MILLISECOND
IMAGE_TIMEOUT = 500 * MILLISECOND

OPERATOR = Refusal(Kind.OPERATOR, "stopped by the operator")
FAULT = Refusal(Kind.FAULT, "fault: too hot")


def make_guard(**options: Any) -> CommandGuard:
    return CommandGuard(max_age=0.2, command_timeout=0.4, image_timeout=0.5, **options)


def kind_of(refusal: Refusal | None) -> Kind | None:
    return None if refusal is None else refusal.kind


# --- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_ns", "kind"),
    [
        (MAX_AGE + 1, Kind.LATE),
        (MAX_AGE, None),
        (0, None),
        (-50 * MILLISECOND, None),
        (-50 * MILLISECOND - 1, Kind.EARLY),
    ],
)
def test_a_command_may_be_as_old_as_the_maximum_age_and_50_ms_early(
    age_ns: int, kind: Kind | None
) -> None:
    guard = make_guard()
    assert kind_of(guard.check(STEP, T0, T0 + age_ns)) is kind
    assert guard.counts.rejected == (kind is not None)


def test_the_tolerances_of_the_clocks_are_those_of_the_documents() -> None:
    assert (FUTURE_TOLERANCE, CLOCK_TOLERANCE) == (0.05, 0.1)


@pytest.mark.parametrize(
    ("action", "age", "kind", "text"),
    [
        (np.full(7, np.nan), 0.0, Kind.NOT_FINITE, "the command is not finite: [nan, nan"),
        (np.array([np.inf, *STEP[1:]]), 0.0, Kind.NOT_FINITE, "is not finite: [inf, 0.0"),
        (np.array([*STEP[:6], np.nan]), 0.0, Kind.NOT_FINITE, "is not finite"),
        (np.full(7, np.nan), 0.3, Kind.NOT_FINITE, "is not finite"),
        (STEP[:6], 0.0, Kind.LENGTH, "shape (6,); the shape must be (7,)"),
        (np.zeros(8), 0.0, Kind.LENGTH, "shape (8,)"),
        ("up", 0.0, Kind.LENGTH, "is not an array of numbers"),
        (STEP, 0.3, Kind.LATE, "command is 0.300 s old; at most 0.2 s are allowed"),
        (STEP, -0.3, Kind.EARLY, "command is stamped 0.300 s in the future"),
    ],
)
def test_bad_command_is_refused_and_counted(
    action: Any, age: float, kind: Kind, text: str
) -> None:
    guard = make_guard()
    refusal = guard.check(action, T0, T0 + round(age * SECOND))
    assert refusal is not None
    assert refusal.kind is kind
    assert text in refusal.text
    counts = guard.counts.values()
    assert counts == {"clipped": 0, "held": 0, "rejected": 1, f"rejected: {kind.value}": 1}


@given(allowed_steps, st.integers(-50 * MILLISECOND, MAX_AGE))
def test_every_fresh_step_passes_and_nothing_is_counted(
    action: np.ndarray, age_ns: int
) -> None:
    guard = make_guard()
    assert guard.check(action, T0, T0 + age_ns) is None
    assert guard.counts.values() == {"clipped": 0, "held": 0, "rejected": 0}


def test_holding_arm_refuses_until_enabled() -> None:
    guard = make_guard()
    assert guard.hold(OPERATOR)
    assert guard.holding
    expected = Refusal(Kind.HOLDING, "arm is holding: stopped by the operator")
    assert guard.check(STEP, T0, T0) == expected
    guard.enable()
    assert not guard.holding
    assert guard.reason == ""
    assert guard.check(STEP, T0, T0) is None


def test_the_first_reason_of_a_hold_stays_and_counts_once() -> None:
    guard = make_guard()
    assert guard.hold(OPERATOR)
    assert not guard.hold(FAULT)
    assert guard.reason == "stopped by the operator"
    assert guard.counts.values() == {
        "clipped": 0,
        "held": 1,
        "rejected": 0,
        "held: operator": 1,
    }


def test_commands_wait_while_the_arm_moves_by_itself() -> None:
    guard = make_guard()
    guard.begin_motion("moving to its start pose")
    expected = Refusal(Kind.MOVING, "arm is moving to its start pose")
    assert guard.check(STEP, T0, T0) == expected
    guard.end_motion()
    assert guard.check(STEP, T0, T0) is None


def test_a_hold_ends_a_motion() -> None:
    guard = make_guard()
    guard.begin_motion("moving to its start pose")
    guard.hold(OPERATOR)
    assert guard.busy == ""


def test_the_first_of_several_reasons_is_given() -> None:
    guard = make_guard()
    guard.begin_motion("moving")
    guard._hold = OPERATOR
    assert kind_of(guard.check(np.zeros(6), T0, T0 + SECOND)) is Kind.LENGTH
    assert kind_of(guard.check(STEP, T0, T0 + SECOND)) is Kind.LATE
    assert kind_of(guard.check(STEP, T0 + SECOND, T0)) is Kind.EARLY
    assert kind_of(guard.check(STEP, T0, T0)) is Kind.HOLDING
    guard.enable()
    assert kind_of(guard.check(STEP, T0, T0)) is Kind.MOVING


# --- timeouts -------------------------------------------------------------------------------


def in_episode(**options: Any) -> CommandGuard:
    """Return a guard in an episode with a command and an image at T0."""
    guard = make_guard(**options)
    guard.start("e")
    assert guard.check(STEP, T0, T0) is None
    guard.on_image(T0, T0)
    return guard


@pytest.mark.parametrize(("pause_ns", "held"), [(0, False), (1, True)])
def test_the_command_timeout_is_exact(pause_ns: int, held: bool) -> None:
    guard = in_episode()
    refusal = guard.check_command_timeout(T0 + COMMAND_TIMEOUT + pause_ns)
    assert kind_of(refusal) is (Kind.SILENCE if held else None)


@pytest.mark.parametrize(("age_ns", "held"), [(0, False), (1, True)])
def test_the_image_timeout_is_exact(age_ns: int, held: bool) -> None:
    guard = in_episode()
    refusal = guard.check_image_timeout(T0 + IMAGE_TIMEOUT + age_ns)
    assert kind_of(refusal) is (Kind.CAMERA if held else None)


def test_the_timeouts_say_what_was_found_and_what_is_allowed() -> None:
    guard = in_episode()
    command = guard.check_command_timeout(T0 + 410 * MILLISECOND)
    image = guard.check_image_timeout(T0 + 520 * MILLISECOND)
    assert command is not None
    assert image is not None
    expected = "no command for 0.41 s during an episode; at most 0.4 s are allowed"
    assert command.text == expected
    assert image.text == (
        "the latest image is 0.52 s old; at most 0.5 s are allowed during an episode"
    )


def test_the_command_timeout_runs_from_the_first_command_of_an_episode() -> None:
    guard = make_guard()
    guard.check(STEP, T0, T0)  # before the episode
    guard.start("e")
    assert guard.check_command_timeout(T0 + 100 * SECOND) is None
    guard.check(STEP, T0 + 100 * SECOND, T0 + 100 * SECOND)
    assert guard.check_command_timeout(T0 + 100 * SECOND + COMMAND_TIMEOUT) is None
    late = T0 + 100 * SECOND + COMMAND_TIMEOUT + 1
    assert kind_of(guard.check_command_timeout(late)) is Kind.SILENCE


def test_a_command_is_accepted_when_it_arrives_not_when_it_is_stamped() -> None:
    guard = in_episode()
    guard.check(STEP, T0 + 100 * MILLISECOND, T0 + 300 * MILLISECOND)
    assert guard.check_command_timeout(T0 + 700 * MILLISECOND) is None


def test_each_command_and_each_image_starts_its_timeout_again() -> None:
    guard = in_episode()
    later = T0 + 300 * MILLISECOND
    guard.check(STEP, later, later)
    guard.on_image(later, later)
    assert guard.image_ns == later
    assert guard.check_command_timeout(T0 + 700 * MILLISECOND) is None
    assert guard.check_image_timeout(T0 + 800 * MILLISECOND) is None


@pytest.mark.parametrize("action", [np.full(7, np.nan), np.zeros(6)])
def test_refused_commands_do_not_restart_the_command_timeout(action: np.ndarray) -> None:
    guard = in_episode()
    guard.check(action, T0 + SECOND, T0 + SECOND)
    assert kind_of(guard.check_command_timeout(T0 + SECOND)) is Kind.SILENCE


def test_a_camera_that_has_shown_nothing_is_not_waited_for() -> None:
    guard = make_guard()
    guard.start("e")
    assert guard.image_ns is None
    assert guard.check_image_timeout(T0) is None


def test_no_timeout_runs_between_two_episodes() -> None:
    guard = in_episode()
    guard.end("e")
    assert guard.episode == ""
    assert guard.check_command_timeout(T0 + 100 * SECOND) is None
    assert guard.check_image_timeout(T0 + 100 * SECOND) is None


def test_a_holding_arm_has_no_timeouts() -> None:
    guard = in_episode()
    guard.hold(OPERATOR)
    assert guard.check_command_timeout(T0 + 100 * SECOND) is None
    assert guard.check_image_timeout(T0 + 100 * SECOND) is None


def test_the_end_of_another_episode_does_not_end_the_running_one() -> None:
    guard = in_episode()
    guard.end("another")
    assert guard.episode == "e"
    assert guard.check_command_timeout(T0 + SECOND)


# --- clock ----------------------------------------------------------------------------------


def test_the_first_look_at_the_clock_finds_no_jump() -> None:
    guard = make_guard()
    assert guard.clocks_ns is None
    assert guard.check_clock(T0, 7 * SECOND) is None
    assert guard.clocks_ns == (T0, 7 * SECOND)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("beyond_ns", "jumped"), [(0, False), (1, True)])
def test_a_jump_of_the_clock_is_one_beyond_a_tenth_of_a_second(
    sign: int, beyond_ns: int, jumped: bool
) -> None:
    guard = make_guard()
    guard.check_clock(T0, 7 * SECOND)
    off = sign * (100 * MILLISECOND + beyond_ns)
    refusal = guard.check_clock(T0 + SECOND + off, 8 * SECOND)
    assert kind_of(refusal) is (Kind.CLOCK if jumped else None)


@pytest.mark.parametrize(("jump", "text"), [(-2, "-2.00"), (3, "+3.00")])
def test_a_jump_of_the_clock_is_reported_once_and_with_its_sign(
    jump: int, text: str
) -> None:
    guard = make_guard()
    guard.check_clock(T0, 7 * SECOND)
    refusal = guard.check_clock(T0 + (1 + jump) * SECOND, 8 * SECOND)
    assert refusal is not None
    assert refusal.text == f"the clock jumped by {text} s; is the time being set?"
    assert guard.check_clock(T0 + (2 + jump) * SECOND, 9 * SECOND) is None


# --- states ---------------------------------------------------------------------------------


@pytest.mark.parametrize("resumes", [True, False])
def test_start_ends_a_hold_in_simulation_only(resumes: bool) -> None:
    guard = make_guard(resume_on_start=resumes)
    guard.hold(OPERATOR)
    guard.start("e")
    assert guard.episode == "e"
    assert guard.holding is not resumes


def test_a_start_does_not_end_a_hold_unless_it_is_asked_to() -> None:
    guard = CommandGuard(0.2, 0.4, 0.5)
    guard.hold(OPERATOR)
    guard.start("e")
    assert guard.holding


def test_enabling_starts_the_command_timeout_with_the_next_command() -> None:
    guard = in_episode()
    guard.hold(OPERATOR)
    guard.enable()
    assert guard.check_command_timeout(T0 + 100 * SECOND) is None


def test_a_guard_that_is_reset_holds_until_it_is_activated_and_counts_nothing() -> None:
    guard = in_episode()
    guard.begin_motion("moving to its start pose")
    guard.reset()
    assert (guard.episode, guard.busy, guard.reason) == ("", "", "not active")
    assert kind_of(guard.check(STEP, T0, T0)) is Kind.HOLDING
    assert guard.counts.held == 0
    guard.activate()
    assert not guard.holding


def test_a_guard_that_is_reset_forgets_the_reason_of_an_earlier_hold() -> None:
    guard = make_guard()
    guard.hold(FAULT)
    guard.reset()
    guard.activate()
    assert not guard.holding


def test_a_reset_keeps_the_stamp_of_the_latest_image() -> None:
    guard = in_episode()
    guard.reset()
    guard.activate()
    guard.start("e")
    assert kind_of(guard.check_image_timeout(T0 + SECOND)) is Kind.CAMERA


def test_activation_ends_no_other_hold() -> None:
    guard = make_guard()
    guard.activate()
    assert not guard.holding
    guard.hold(FAULT)
    guard.activate()
    assert guard.reason == "fault: too hot"


def test_everything_refused_held_and_clipped_is_counted_by_kind() -> None:
    guard = make_guard()
    guard.check(np.zeros(6), T0, T0)
    guard.check(np.full(7, np.nan), T0, T0)
    guard.check(STEP, T0, T0 + SECOND)
    guard.check(STEP, T0 + SECOND, T0)
    guard.begin_motion("moving to its start pose")
    guard.check(STEP, T0, T0)
    guard.count(StepResult(STEP, (Kind.ACTION_BOUNDS, Kind.JOINT_SPEED)))
    guard.count(StepResult(STEP, refusal=Refusal(Kind.UNREACHABLE, "too far")))
    guard.hold(Refusal(Kind.CAMERA, "the latest image is 1 s old"))
    guard.check(STEP, T0, T0)
    assert guard.counts.values() == {
        "clipped": 1,
        "held": 1,
        "rejected": 7,
        "rejected: length": 1,
        "rejected: not finite": 1,
        "rejected: late": 1,
        "rejected: early": 1,
        "rejected: moving by itself": 1,
        "rejected: gate": 1,
        "rejected: holding": 1,
        "clipped: action bounds": 1,
        "clipped: joint speed limit": 1,
        "held: camera": 1,
    }
