"""How an episode of any format becomes one of a store: bounds, gripper, stamps, task, images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prior_data import FOLDER, Demonstration, jpeg

from ptr_training.importers.base import (
    BridgePath,
    ImportOptions,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    as_nanoseconds,
    normalise_name,
)
from ptr_training.importers.to_episode import binarize_gripper, to_episode

OPTIONS = ImportOptions()
SIZE = (8, 8)


def make(length: int = 5, **changes: object) -> SourceEpisode:
    made = Demonstration.make(length)
    place = BridgePath.parse(f"/data/{FOLDER}/train/out.npy")
    source = SourceEpisode(
        "id", place, "00", made.cameras[0], made.states, made.actions.astype(np.float32)
    )
    return replace(source, **changes)  # type: ignore[arg-type]


def test_commands_beyond_the_bounds_are_clipped_and_counted() -> None:
    actions = np.zeros((4, 7), np.float32)
    actions[0] = [0.05, -0.05, 0.05, -0.25, 0.25, 0.25, 1]  # at the bounds
    actions[1, 5] = -0.2543
    actions[3, [0, 6]] = 0.06, 1.007
    episode, entry = to_episode(make(4, actions=actions), OPTIONS, SIZE)
    np.testing.assert_array_equal(episode.requested, actions)
    np.testing.assert_array_equal(episode.executed[[0, 2]], actions[[0, 2]])
    np.testing.assert_allclose(episode.executed[[1, 3, 3], [5, 0, 6]], [-0.25, 0.05, 1])
    assert entry["clipped"] == 2


def test_zero_first_action_is_kept_and_counted_or_dropped_with_its_observation() -> None:
    source = make(5)
    kept, entry = to_episode(source, OPTIONS, SIZE)
    assert (len(kept), entry["notes"][0]) == (5, "zero first action kept")
    dropped, entry = to_episode(source, replace(OPTIONS, drop_zero_first=True), SIZE)
    np.testing.assert_array_equal(dropped.frames, kept.frames[1:])
    np.testing.assert_array_equal(dropped.proprio, kept.proprio[1:])
    np.testing.assert_array_equal(dropped.requested, kept.requested[1:])
    assert entry["notes"][0] == "zero first action dropped"
    moving = replace(source, actions=source.actions + np.float32(0.001))
    assert len(to_episode(moving, replace(OPTIONS, drop_zero_first=True), SIZE)[0]) == 5


def test_gripper_on_its_way_takes_the_value_it_settles_at() -> None:
    commands = np.array([1, 0.56, 0.3, 0.0, 0.16, 0.98, 0.5], np.float32)
    assert binarize_gripper(commands).tolist() == [1, 0, 0, 0, 1, 1, 1]
    assert binarize_gripper(np.array([0.4, 0.6])).tolist() == [0, 1]
    source = make(
        7, actions=np.column_stack([np.zeros((7, 6)), commands]).astype(np.float32)
    )
    assert (
        to_episode(source, OPTIONS, SIZE)[0].requested[:, 6].tolist() == commands.tolist()
    )
    binary, _ = to_episode(source, replace(OPTIONS, binarize_gripper=True), SIZE)
    assert (
        binary.requested[:, 6].tolist()
        == binary.executed[:, 6].tolist()
        == [1, 0, 0, 0, 1, 1, 1]
    )


def test_stamps_that_do_not_increase_are_replaced_and_said_so() -> None:
    for stamps in (
        [1.0, 1.2, 1.2, 1.4],
        [float("nan"), 1.1, 1.2, 1.3],
        [1.0, 1.1, 1.2, float("inf")],
        [1, 2, 3, 1e10],
    ):
        episode, entry = to_episode(
            make(3, stamps_ns=as_nanoseconds(stamps, "stamps")), OPTIONS, SIZE
        )
        assert episode.stamps_ns.tolist() == [0, 200_000_000, 400_000_000, 600_000_000]
        assert "time stamps do not increase, replaced" in entry["notes"]


@pytest.mark.parametrize(("pause", "noted"), [(0.39, False), (0.41, True), (1e9, True)])
def test_a_gap_between_stamps_is_kept_and_noted(pause: float, noted: bool) -> None:
    stamps = as_nanoseconds([1.0, 1.2, 1.2 + pause, 1.4 + pause], "stamps")
    episode, entry = to_episode(make(3, stamps_ns=stamps), OPTIONS, SIZE)
    assert episode.stamps_ns.tolist() == stamps.tolist()
    assert ("a step lasts more than 0.4 s" in entry["notes"]) == noted


@pytest.mark.parametrize(
    ("task_from", "language", "folder", "task", "note"),
    [
        ("folder", ("Put it  there",), "Put_Carrot on_plate ", "put carrot on plate", None),
        ("language", (" Put it_there",), "x", "put it there", None),
        ("language", (), "put_x", "put x", "task named by folder"),
        ("folder", ("do y",), "", "do y", "task named by language"),
        (
            "language",
            ("one", "two"),
            "x",
            "one",
            "several instructions, the first one counts",
        ),
        ("folder", (), "x", "x", "no instruction"),
    ],
)
def test_task_is_named_as_asked_or_by_the_name_there_is(
    task_from: str, language: tuple[str, ...], folder: str, task: str, note: str | None
) -> None:
    source = make(2, language=language, bridge_path=BridgePath("n", "f", "d", folder))
    episode, entry = to_episode(source, replace(OPTIONS, task_from=task_from), SIZE)
    assert (episode.task, entry["named"]) == (task, task)
    assert note is None or note in entry["notes"]


def test_task_map_renames_what_was_normalised() -> None:
    options = replace(OPTIONS, task_map={"put carrot on plate": "carrot"})
    episode, entry = to_episode(make(2), options, SIZE)
    assert (episode.task, entry["named"]) == ("carrot", "put carrot on plate")
    assert (
        normalise_name(" Turn_lever  vertical_to-front") == "turn lever vertical to-front"
    )


def test_nameless_task_is_refused() -> None:
    with pytest.raises(
        RecordError, match="neither a folder nor an instruction names the task"
    ):
        to_episode(make(2, bridge_path=BridgePath("n")), OPTIONS, SIZE)


def test_episode_without_a_transition_is_left_out() -> None:
    one = make(1)
    for options, source in (
        (
            OPTIONS,
            replace(
                one,
                images=one.images[:1],
                states=one.states[:1],
                actions=one.actions[:0],
            ),
        ),
        (replace(OPTIONS, drop_zero_first=True), one),
    ):
        with pytest.raises(SkipRecord) as skipped:
            to_episode(source, options, SIZE)
        assert skipped.value.status == RecordStatus.TOO_SHORT


def test_black_images_stand_for_a_camera_that_was_not_there() -> None:
    black = [jpeg(np.zeros((24, 32, 3), np.uint8))] * 3
    with pytest.raises(SkipRecord, match="black") as skipped:
        to_episode(make(2, images=black), OPTIONS, SIZE)
    assert skipped.value.status == RecordStatus.NO_CAMERA
    lit = [*black[:2], jpeg(np.full((24, 32, 3), 9, np.uint8))]
    assert to_episode(make(2, images=lit), OPTIONS, SIZE)[0].frames.any()


def test_small_images_are_enlarged_and_said_so() -> None:
    _, entry = to_episode(make(2), OPTIONS, (64, 48))
    assert "pictures enlarged" in entry["notes"]
    assert entry["picture"] == [24, 32]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((24, 32), np.uint8),
            r"image 1 is uint8 \(24, 32\), expected uint8 \(H, W, 3\)",
        ),
        (np.zeros((24, 32, 3)), r"image 1 is float64"),
        (np.zeros((0, 32, 3), np.uint8), "image 1 is uint8"),
        (
            np.zeros((12, 16, 3), np.uint8),
            r"the images change their shape: \(12, 16, 3\), \(24, 32, 3\)",
        ),
        (memoryview(b"\xff\xd8 and then nothing"), "image 1 is truncated"),
        (b"\x89PNG", "image 1: compressed image"),
    ],
)
def test_images_that_are_none_are_refused(image: object, message: str) -> None:
    source = make(1)
    with pytest.raises(RecordError, match=message):
        to_episode(replace(source, images=[source.images[0], image]), OPTIONS, SIZE)
