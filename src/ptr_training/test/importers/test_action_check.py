"""Actions that are no steps of this arm are refused, with the option that mends them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lerobot_reference as reference
import numpy as np
import pytest
from altered_lerobot import DATA, FRONT, set_column

from ptr_common.errors import PtrError
from ptr_training.importers.action_check import check_steps, convert_units
from ptr_training.importers.base import (
    BridgePath,
    ImportOptions,
    RecordError,
    SourceEpisode,
)
from ptr_training.importers.import_command import _parser, _request
from ptr_training.importers.lerobot.reader import find, read

T = 10


def _episode(**changes: object) -> SourceEpisode:
    """Return an episode of steps in x, with the states that they lead to."""
    actions = np.zeros((T, 7), np.float32)
    actions[:, 0], actions[:, 6] = 0.01, 1.0
    states = np.tile(np.array([0.25, 0.0, 0.15, 0, 0, 0, 1.0], np.float32), (T + 1, 1))
    states[:, 0] += 0.01 * np.arange(T + 1)
    images = [np.zeros((8, 8, 3), np.uint8)] * (T + 1)
    made = SourceEpisode("e", BridgePath("e"), "", images, states, actions)
    return replace(made, **changes)  # type: ignore[arg-type]


def _with(column: slice | int, values: object) -> SourceEpisode:
    source = _episode()
    actions = source.actions.copy()
    actions[:, column] = values
    return replace(source, actions=actions)


def test_steps_are_accepted_and_a_few_long_ones_too() -> None:
    check_steps(_episode())
    source = _with(0, [0.08, *[0.01] * (T - 1)])
    check_steps(source)
    check_steps(_with(6, [1.05, *[-0.05] * (T - 1)]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (_with(slice(0, 3), [0.3, 0.0, 0.15]), r"they are poses"),
        (
            _with(slice(0, 3), _episode().states[1:, :3]),
            r"position that follows; they are po",
        ),
        (_with(0, 10.0), r"longer than 10 m.*they are poses, or scaled"),
        (_with(0, [2.0, *[0.01] * (T - 1)]), r"the longest is 2 m"),
        (_with(5, 5.0), r"in degrees \(`--degrees` converts them\)"),
        (_with(5, [5.0, *[0.0] * (T - 1)]), r"the widest is 5; they are in degrees"),
        (_with(3, 0.5), r"half of their rotations are wider than 0\.5"),
        (
            _with(6, [-1.0] * 5 + [1.0] * 5),
            r"-1 … 1; they are scaled.*--gripper-range -1 1",
        ),
        (_with(6, 255.0), r"--gripper-range 0 255"),
    ],
)
def test_what_is_no_step_is_refused_with_what_was_found(
    source: SourceEpisode, message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        check_steps(source)


def test_rotations_that_are_the_orientation_itself_are_refused() -> None:
    source = _episode()
    states, actions = source.states.copy(), source.actions.copy()
    states[:, 5], actions[:, 5] = 0.2, 0.2
    with pytest.raises(
        RecordError, match="of the orientation that follows; they are poses"
    ):
        check_steps(replace(source, states=states, actions=actions))


def test_an_episode_of_a_store_is_not_judged_again() -> None:
    check_steps(replace(_with(0, 10.0), original={"task": "a"}))


def test_options_bring_units_to_those_of_the_arm() -> None:
    source = _with(slice(5, 7), [5.0, -1.0])
    options = ImportOptions(gripper_range=(-1.0, 1.0), degrees=True)
    converted = convert_units(source, options)
    np.testing.assert_allclose(converted.actions[:, 5], np.deg2rad(5.0), rtol=1e-6)
    np.testing.assert_array_equal(converted.actions[:, 6], 0.0)
    check_steps(converted)
    assert convert_units(source, ImportOptions()) is source


def test_command_line_takes_a_range_and_refuses_an_empty_one() -> None:
    command = ["rlds", "x", "--out", "s", "--degrees", "--gripper-range"]
    options = _request(_parser().parse_args([*command, "-1", "1"])).options
    assert (options.gripper_range, options.degrees) == ((-1.0, 1.0), True)
    with pytest.raises(PtrError, match="--gripper-range is 1 1; it must be two different"):
        _request(_parser().parse_args([*command, "1", "1"]))


@pytest.mark.parametrize(
    ("scale", "gripper", "message"),
    [(10, 0.0, "are longer than"), (1, -1.0, r"the gripper's are -1 … 1")],
)
def test_a_data_set_of_lerobot_with_actions_that_are_no_steps_is_refused(
    root: Path, scale: float, gripper: float, message: str
) -> None:
    values = np.concatenate([reference.actions(number) for number in range(3)])
    values[:, :6] *= scale
    values[values[:, 6] == 0, 6] = gripper
    set_column(root / DATA, "action", values.tolist())
    with pytest.raises(RecordError, match=message):
        [check_steps(read(record, FRONT)) for record in find([root])]
