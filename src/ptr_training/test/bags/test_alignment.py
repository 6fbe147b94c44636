"""From stamped streams to steps: the arithmetic, on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_alignment import (
    FOREVER,
    MS,
    every,
    make_commands,
)

from ptr_training.bags.alignment import (
    MAX_AGE_NS,
    PERIOD_NS,
    AlignmentError,
    align,
    compose,
    match_executed,
    newest,
)


def test_each_command_at_the_control_rate_is_one_step() -> None:
    commands = make_commands(
        [
            1000 * MS + k * PERIOD_NS + jitter * MS
            for k, jitter in enumerate((0, 15, -20, 7, 0))
        ]
    )
    images, states = every(33, 3000).astype(np.int64), every(50, 3000).astype(np.int64)
    steps = align(commands, images, states, FOREVER)
    assert len(steps) == 5
    assert steps.images.shape == steps.states.shape == (6,)
    np.testing.assert_array_equal(steps.requested, commands.requested)
    np.testing.assert_array_equal(steps.executed, commands.executed)
    for step, stamp in enumerate(commands.stamps):
        assert 0 <= stamp - images[steps.images[step]] < 33 * MS
        assert 0 <= stamp - states[steps.states[step]] < 50 * MS
    last = commands.stamps[-1] + PERIOD_NS - images[steps.images[-1]]
    assert 0 <= last < 33 * MS


def test_observation_is_the_image_the_command_answers() -> None:
    images = every(33, 3000).astype(np.int64)
    answered = images[[30, 36, 42, 48]]
    commands = make_commands(
        (answered + 80 * MS).tolist(), answered.tolist()
    )  # 80 ms of inference
    steps = align(commands, images, images, FOREVER)
    np.testing.assert_array_equal(steps.images[:-1], [30, 36, 42, 48])
    assert images[steps.images[-1]] <= answered[-1] + PERIOD_NS


def test_silence_becomes_steps_in_which_the_arm_stays() -> None:
    commands = make_commands([1000 * MS, 1000 * MS + PERIOD_NS, 1000 * MS + 4 * PERIOD_NS])
    images = every(20, 4000).astype(np.int64)
    steps = align(commands, images, images, FOREVER)
    assert [len(member) for member in steps.members] == [1, 1, 0, 0, 1]
    np.testing.assert_array_equal(
        steps.requested[2:4], [[0, 0, 0, 0, 0, 0, 1]] * 2
    )  # the gripper stays open
    np.testing.assert_array_equal(np.diff(images[steps.images]), [PERIOD_NS] * 5)


def test_fast_commands_are_gathered_on_a_grid() -> None:
    commands = make_commands([1000 * MS + round(k * 1e9 / 30) for k in range(31)])
    images = every(10, 4000).astype(np.int64)
    steps = align(commands, images, images, FOREVER)
    assert [len(member) for member in steps.members] == [6, 6, 6, 6, 6, 1]
    np.testing.assert_allclose(steps.requested[0, 0], sum(range(6)) / 1000)
    np.testing.assert_array_equal(np.diff(images[steps.images]), [PERIOD_NS] * 6)
    np.testing.assert_array_equal(steps.made, np.arange(31))


def test_one_step_holds_one_command_even_if_two_come_at_once() -> None:
    commands = make_commands([1000 * MS, 1010 * MS, 1200 * MS, 1400 * MS])
    images = every(20, 4000).astype(np.int64)
    assert len(align(commands, images, images, FOREVER)) == 4


def test_last_command_needs_an_image_after_it_and_before_the_end() -> None:
    commands = make_commands([1000 * MS, 1200 * MS, 1400 * MS])
    images = every(50, 4000).astype(np.int64)
    kept = align(commands, images, images, end_ns=1500 * MS)
    assert len(kept) == 3
    assert images[kept.images[-1]] == 1500 * MS
    cut = align(commands, images, images, end_ns=1410 * MS)
    assert len(cut) == 2
    np.testing.assert_array_equal(cut.late, [2])
    assert images[cut.images[-1]] == 1400 * MS


def test_commands_from_before_the_first_observation_are_left_out() -> None:
    commands = make_commands([1000 * MS, 1200 * MS, 1400 * MS, 1600 * MS])
    images, states = (
        every(50, 4000, 1150).astype(np.int64),
        every(50, 4000, 1390).astype(np.int64),
    )
    steps = align(commands, images, states, FOREVER)
    np.testing.assert_array_equal(steps.early, [0, 1])
    np.testing.assert_array_equal(steps.made, [2, 3])


def test_hole_in_the_images_refuses_the_episode() -> None:
    commands = make_commands([1000 * MS + k * PERIOD_NS for k in range(10)])
    images = every(50, 4000).astype(np.int64)
    holed = images[(images < 1500 * MS) | (images > 2200 * MS)]
    with pytest.raises(
        AlignmentError, match=r"step 5 the newest image is 0\.55 s old; at most 0\.4 s"
    ):
        align(commands, holed, images, FOREVER)
    with pytest.raises(AlignmentError, match="newest arm state"):
        align(commands, images, holed, FOREVER)


@pytest.mark.parametrize("missing", ["command", "image", "arm state"])
def test_empty_stream_refuses_the_episode(missing: str) -> None:
    times = every(50, 4000).astype(np.int64)
    none = times[:0]
    with pytest.raises(AlignmentError, match=f"no {missing}"):
        align(
            make_commands([] if missing == "command" else [1000 * MS]),
            none if missing == "image" else times,
            none if missing == "arm state" else times,
            FOREVER,
        )


def test_single_command_between_two_images_is_an_episode_of_one_step() -> None:
    images = every(50, 4000).astype(np.int64)
    assert len(align(make_commands([1000 * MS]), images, images, FOREVER)) == 1
    with pytest.raises(AlignmentError, match="before and after"):
        align(make_commands([1000 * MS]), images, images, end_ns=1000 * MS)


@settings(max_examples=100)
@given(
    jitter=st.lists(st.integers(-60, 60), min_size=2, max_size=30),
    gaps=st.lists(st.integers(0, 3), min_size=30, max_size=30),
    image_ms=st.integers(10, 190),
    end=st.integers(0, 8000),
)
def test_observations_never_come_from_the_future_nor_from_long_ago(
    jitter: list[int], gaps: list[int], image_ms: int, end: int
) -> None:
    slots = np.cumsum([1 + gaps[k] for k in range(len(jitter))])
    stamps = sorted(set((1000 * MS + slots * PERIOD_NS + np.array(jitter) * MS).tolist()))
    images, states = (
        every(image_ms, 40_000).astype(np.int64),
        every(50, 40_000).astype(np.int64),
    )
    end_ns = stamps[0] + end * MS
    commands = make_commands([stamp for stamp in stamps if stamp <= end_ns])
    try:
        steps = align(commands, images, states, end_ns)
    except AlignmentError:
        assert end < image_ms + 200  # nothing but a very short episode may be refused here
        return
    assert (
        len(steps.images) == len(steps.states) == len(steps) + 1 == len(steps.members) + 1
    )
    for step, member in enumerate(steps.members):
        for index in member:
            assert 0 <= commands.stamps[index] - images[steps.images[step]] <= MAX_AGE_NS
            assert 0 <= commands.stamps[index] - states[steps.states[step]] <= MAX_AGE_NS
    assert (np.diff(images[steps.images]) >= 0).all()
    assert images[steps.images[-1]] > images[steps.images[-2]]
    assert images[steps.images[-1]] <= end_ns
    everything = np.concatenate([steps.early, steps.made, steps.late])
    np.testing.assert_array_equal(np.sort(everything), np.arange(len(commands)))


def test_newest_is_the_last_that_is_not_later() -> None:
    np.testing.assert_array_equal(
        newest(np.array([10, 20, 30]), np.array([5, 10, 25, 99])), [-1, 0, 1, 2]
    )


def test_executed_is_matched_by_image_whatever_its_order() -> None:
    matches = match_executed(
        np.array([100, 200, 300]) * MS,
        np.array([90, 190, 290]),
        np.array([130, 230, 330]) * MS,
        np.array([190, 90, 55]),
    )
    np.testing.assert_array_equal(matches, [1, 0, -1])


def test_executed_without_image_is_the_first_that_follows_before_the_next_request() -> None:
    zeros = np.zeros(4, np.int64)
    stamps = np.array([0, 200, 400, 600]) * MS
    executed = np.array([5, 210, 215, 900]) * MS
    np.testing.assert_array_equal(
        match_executed(stamps, zeros, executed, zeros), [0, 1, -1, -1]
    )


def test_what_was_not_executed_is_a_step_in_which_the_arm_stayed() -> None:
    commands = make_commands([1000 * MS, 1200 * MS, 1400 * MS])
    commands.executed[1] = np.nan
    images = every(50, 4000).astype(np.int64)
    steps = align(commands, images, images, FOREVER)
    np.testing.assert_array_equal(
        steps.executed[1], [0, 0, 0, 0, 0, 0, commands.executed[0, 6]]
    )
    np.testing.assert_array_equal(steps.requested[1], commands.requested[1])


angles = st.floats(-0.2, 0.2)


@settings(max_examples=60)
@given(st.lists(st.tuples(angles, angles, angles), min_size=1, max_size=6))
def test_composed_rotation_equals_the_rotations_one_after_the_other(
    turns: list[tuple[float, float, float]],
) -> None:
    actions = np.zeros((len(turns), 7))
    actions[:, 3:6] = turns
    expected = np.eye(3)
    for turn in turns:
        expected = rotation(*turn) @ expected
    np.testing.assert_allclose(rotation(*compose(actions)[3:6]), expected, atol=1e-12)


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll), from the three elementary rotations."""
    (cr, sr), (cp, sp), (cy, sy) = (
        (np.cos(angle), np.sin(angle)) for angle in (roll, pitch, yaw)
    )
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def test_composed_translation_is_the_sum_and_the_gripper_the_last() -> None:
    actions = np.array([[0.01, 0, 0.02, 0, 0, 0, 1.0], [0.01, -0.01, 0, 0, 0, 0, 0.3]])
    np.testing.assert_allclose(compose(actions), [0.02, -0.01, 0.02, 0, 0, 0, 0.3])


def test_times_are_those_of_a_5_hz_controller() -> None:
    assert PERIOD_NS == 200 * MS
    assert MAX_AGE_NS == 400 * MS


@pytest.mark.parametrize(
    ("gap", "steps"), [(300 * MS, 2), (300 * MS + 1, 3), (500 * MS, 3), (501 * MS, 4)]
)
def test_gap_of_more_than_one_and_a_half_periods_is_held(gap: int, steps: int) -> None:
    commands = make_commands([1000 * MS, 1000 * MS + gap])
    images = every(1, 3000).astype(np.int64)
    assert len(align(commands, images, images, FOREVER)) == steps


@pytest.mark.parametrize(("interval", "steps"), [(150 * MS, 5), (150 * MS - 1, 3)])
def test_median_interval_under_three_quarters_of_a_period_makes_a_grid(
    interval: int, steps: int
) -> None:
    commands = make_commands([1000 * MS + number * interval for number in range(5)])
    images = every(1, 3000).astype(np.int64)
    found = align(commands, images, images, FOREVER)
    assert len(found) == steps
    assert [len(member) for member in found.members] == (
        [1] * 5 if steps == 5 else [2, 1, 2]
    )


@pytest.mark.parametrize("old", ["image", "arm state"])
def test_observation_of_two_periods_is_the_oldest(old: str) -> None:
    commands = make_commands([1000 * MS + number * PERIOD_NS for number in range(6)])
    dense = every(10, 4000).astype(np.int64)
    around_step_3 = (dense > 1100 * MS) & (dense <= 1600 * MS)
    rest = dense[~around_step_3]
    for stamp in (1600 * MS - MAX_AGE_NS, 1600 * MS - MAX_AGE_NS - 1):
        sparse = np.sort(np.append(rest, stamp))
        streams = (sparse, dense) if old == "image" else (dense, sparse)
        if stamp == 1600 * MS - MAX_AGE_NS:
            assert len(align(commands, *streams, FOREVER)) == 6
        else:
            with pytest.raises(
                AlignmentError, match=f"step 3 the newest {old} is 0.40 s old"
            ):
                align(commands, *streams, FOREVER)


def test_refusal_names_the_older_of_image_and_state() -> None:
    commands = make_commands([1000 * MS + number * PERIOD_NS for number in range(10)])
    dense = every(50, 4000).astype(np.int64)
    long = dense[(dense < 1200 * MS) | (dense > 2200 * MS)]
    short = dense[(dense < 1250 * MS) | (dense > 2200 * MS)]
    with pytest.raises(AlignmentError, match=r"newest image is 0\.45 s old"):
        align(commands, long, short, FOREVER)
    with pytest.raises(AlignmentError, match=r"newest arm state is 0\.45 s old"):
        align(commands, short, long, FOREVER)
    with pytest.raises(AlignmentError, match=r"newest image is 0\.45 s old"):
        align(commands, long, long, FOREVER)


def test_steps_can_be_renumbered() -> None:
    images = every(50, 4000).astype(np.int64)
    steps = align(make_commands([1000 * MS, 1200 * MS]), images, images, FOREVER)
    renumbered = steps.renumbered(np.arange(80) + 100, np.arange(80) + 500)
    np.testing.assert_array_equal(renumbered.images, steps.images + 100)
    np.testing.assert_array_equal(renumbered.states, steps.states + 500)
    np.testing.assert_array_equal(renumbered.requested, steps.requested)


@pytest.mark.parametrize(
    ("missing", "gripper"), [([0], 0.75), ([0, 1], 0.5), ([0, 1, 2], 0)]
)
def test_arm_that_has_not_moved_yet_has_the_gripper_of_its_first_command(
    missing: list[int], gripper: float
) -> None:
    commands = make_commands([1000 * MS, 1200 * MS, 1400 * MS])
    commands.executed[:, 6] = [0.25, 0.75, 0.5]
    commands.executed[missing] = np.nan
    images = every(50, 4000).astype(np.int64)
    steps = align(commands, images, images, FOREVER)
    np.testing.assert_array_equal(steps.executed[0], [0, 0, 0, 0, 0, 0, gripper])
