"""The counts of commands and holds."""

from __future__ import annotations

import numpy as np

from widowx_bringup.arm.counts import CommandCounts
from widowx_bringup.arm.refusal import Kind, Refusal, StepResult

STEP = np.zeros(7)


def test_an_executed_command_is_not_counted() -> None:
    counts = CommandCounts()
    counts.count_step(StepResult(STEP))
    assert counts.values() == {"clipped": 0, "held": 0, "rejected": 0}


def test_a_clipped_command_counts_once_and_each_of_its_limits() -> None:
    counts = CommandCounts()
    counts.count_step(StepResult(STEP, (Kind.ACTION_BOUNDS, Kind.JOINT_SPEED)))
    counts.count_step(StepResult(STEP, (Kind.JOINT_SPEED,)))
    assert counts.values() == {
        "clipped": 2,
        "held": 0,
        "rejected": 0,
        "clipped: action bounds": 1,
        "clipped: joint speed limit": 2,
    }


def test_a_refusal_of_the_controller_is_counted_as_the_gates() -> None:
    counts = CommandCounts()
    for kind in (Kind.UNREACHABLE, Kind.READING):
        counts.count_step(StepResult(STEP, refusal=Refusal(kind, "text")))
    assert counts.values() == {
        "clipped": 0,
        "held": 0,
        "rejected": 2,
        "rejected: gate": 2,
    }


def test_a_command_is_counted_as_clipped_or_as_rejected_never_as_both() -> None:
    counts = CommandCounts()
    refusal = Refusal(Kind.UNREACHABLE, "text")
    counts.count_step(StepResult(STEP, (Kind.ACTION_BOUNDS,), refusal))
    assert counts.values() == {
        "clipped": 0,
        "held": 0,
        "rejected": 1,
        "rejected: gate": 1,
    }


def test_refusals_of_the_guard_and_holds_are_counted_by_kind() -> None:
    counts = CommandCounts()
    counts.count_refusal(Kind.LATE)
    counts.count_refusal(Kind.LATE)
    counts.count_hold(Kind.CAMERA)
    assert counts.values() == {
        "clipped": 0,
        "held": 1,
        "rejected": 2,
        "rejected: late": 2,
        "held: camera": 1,
    }


def test_the_counts_returned_are_a_copy() -> None:
    counts = CommandCounts()
    counts.values()["rejected: late"] = 5
    assert counts.values() == {"clipped": 0, "held": 0, "rejected": 0}
