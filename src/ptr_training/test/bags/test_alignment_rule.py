"""Steps against the rule of alignment in plain loops, on drawn recordings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_alignment import EDGE, GAPS, MS, as_lists, plain_align, plain_match, recordings

from ptr_training.bags.alignment import (
    AlignmentError,
    Commands,
    align,
    match_executed,
)


@settings(max_examples=300)
@given(recordings())
def test_steps_are_those_of_the_rule_in_plain_loops(
    recording: tuple[Commands, list[int], list[int], int],
) -> None:
    commands, images, states, end = recording
    try:
        found: object = as_lists(
            align(commands, np.array(images, np.int64), np.array(states, np.int64), end)
        )
    except AlignmentError:
        found = None
    expected = plain_align(commands, images, states, end) if images and states else None
    assert found == expected


def test_images_and_states_that_stop_before_the_last_commands_are_a_gap() -> None:
    """At 2.4 s the state is too old, at 2.7 s the image too: nothing of it is an ending."""
    stamps = np.array([2_000_000_000, 2_199_999_999, 2_399_999_998, 2_699_999_997])
    actions = np.zeros((4, 7))
    commands = Commands(stamps, np.zeros(4, np.int64), actions, actions)
    images, states = np.array([1_950_000_001, 2_199_999_998]), np.array([1_950_000_001])
    with pytest.raises(AlignmentError):
        align(commands, images, states, 1_999_999_999)


@settings(max_examples=100)
@given(recordings())
def test_actions_are_made_of_the_commands_of_their_step(
    recording: tuple[Commands, list[int], list[int], int],
) -> None:
    commands, images, states, end = recording
    try:
        steps = align(commands, np.array(images, np.int64), np.array(states, np.int64), end)
    except AlignmentError:
        return
    executed = commands.executed.copy()
    done = [row for row in range(len(executed)) if not np.isnan(executed[row, 0])]
    for row in range(len(executed)):
        if row not in done:
            before = [other for other in done if other < row] or done[:1]
            gripper = executed[before[-1], 6] if before else commands.requested[0, 6]
            executed[row] = [0, 0, 0, 0, 0, 0, gripper]
    for actions, values in (
        (steps.requested, commands.requested),
        (steps.executed, executed),
    ):
        gripper = values[steps.early[-1], 6] if len(steps.early) else values[0, 6]
        for action, members in zip(actions, steps.members, strict=True):
            gripper = values[members[-1], 6] if len(members) else gripper
            expected = [*values[members, :6].sum(0), gripper]
            np.testing.assert_allclose(action, expected, atol=1e-12)


@settings(max_examples=200)
@given(st.data())
def test_executed_commands_are_matched_as_the_rule_says(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    stamps = [1000 * MS]
    for _ in range(count - 1):
        stamps.append(stamps[-1] + data.draw(GAPS) * MS)
    images = st.sampled_from([0, 0, 11, 12, 13])
    observed = [data.draw(images) for _ in stamps]
    done = []
    for stamp in stamps:
        for _ in range(data.draw(st.integers(0, 2))):
            delay = data.draw(st.sampled_from([0, 5, 5, 100, 200]))
            done.append(stamp + delay * MS + data.draw(EDGE))
    done.sort()
    done_observed = [data.draw(images) for _ in done]
    found = match_executed(
        np.array(stamps),
        np.array(observed),
        np.array(done, np.int64),
        np.array(done_observed, np.int64),
    )
    assert found.tolist() == plain_match(stamps, observed, done, done_observed)
