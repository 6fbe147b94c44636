"""What becomes of an episode of any format: places and names, bounds, gripper, stamps, pictures."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from prior_data import DATED, FOLDER, Demonstration, jpeg

from ptr_training.importers.base import (
    BridgePath,
    ImportOptions,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    nanoseconds,
    natural,
    normalise,
    settled,
    to_episode,
)

OPTIONS = ImportOptions()
SIZE = (8, 8)


def make(length: int = 5, **changes: object) -> SourceEpisode:
    made = Demonstration.make(length)
    place = BridgePath.of(f"/data/{FOLDER}/train/out.npy")
    foreign = SourceEpisode(
        "id", place, "00", made.cameras[0], made.states, made.actions.astype(np.float32)
    )
    return replace(foreign, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "name", "folder", "domain", "task"),
    [
        (
            "/a/b/" + FOLDER + "/val/out.npy",
            FOLDER + "/val/out.npy",
            FOLDER,
            "toykitchen1",
            "put_carrot_on_plate",
        ),
        (
            f"/a/{DATED}/raw/traj_group0/traj1",
            f"{DATED}/raw/traj_group0/traj1",
            DATED,
            "toykitchen1",
            "put_carrot_on_plate",
        ),
        (
            "/a/raw/bridge_data_v2/datacol2_toykitchen5/pnp_push_sweep/05/2023-07-11_14-06-57/raw/traj_group0/traj0",
            "bridge_data_v2/datacol2_toykitchen5/pnp_push_sweep/05/2023-07-11_14-06-57/raw/traj_group0/traj0",
            "bridge_data_v2/datacol2_toykitchen5/pnp_push_sweep/05/2023-07-11_14-06-57",
            "datacol2_toykitchen5",
            "pnp_push_sweep",
        ),
        ("rss/toykitchen2/set_table/00/train/out.npy",) * 2
        + ("rss/toykitchen2/set_table/00", "toykitchen2", "set_table"),
        (
            "/home/me/lab/kitchen/put_x/out.npy",
            "kitchen/put_x/out.npy",
            "kitchen/put_x",
            "kitchen",
            "put_x",
        ),
        ("scripted/2022-12-09_pnp_soft_toys",) * 3
        + ("scripted", "2022-12-09_pnp_soft_toys"),
        ("/put_x", "put_x", "put_x", "", "put_x"),
        ("", "", "", "", ""),
    ],
)
def test_place_is_read_from_the_collection_on(
    path: str, name: str, folder: str, domain: str, task: str
) -> None:
    place = BridgePath.of(path)
    assert (place.name, place.folder, place.domain, place.task) == (
        name,
        folder,
        domain,
        task,
    )


def test_date_is_that_of_the_dated_folder() -> None:
    assert BridgePath.of(f"/a/{DATED}/raw/traj_group0/traj1").collected == datetime(
        2021, 8, 1, 10, 20, 30
    )
    assert BridgePath.of("/a/scripted/2022-12-09_pnp_soft_toys/out.npy").collected is None


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    names = ["traj9/im_2.jpg", "traj9/im_10.jpg", "traj10/im_0.jpg", "trajectory"]
    assert sorted(map(Path, names[::-1]), key=natural) == [*map(Path, names)]


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        ((), (), True),
        ((), ("open",), False),  # PTR's lists work so: the substring is in "opened"
        (("drawer", "pot"), (), True),
        (("pot",), (), False),
        (("drawer",), ("kitchen6",), False),
    ],
)
def test_filters_look_for_substrings_anywhere(
    include: tuple[str, ...], exclude: tuple[str, ...], wanted: bool
) -> None:
    options = ImportOptions(include=include, exclude=exclude)
    if wanted:
        options.check_wanted("toykitchen6/put_spoon_into_opened_drawer")
        return
    with pytest.raises(SkipRecord) as left_out:
        options.check_wanted("toykitchen6/put_spoon_into_opened_drawer")
    assert left_out.value.fate == RecordStatus.EXCLUDED


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
    foreign = make(5)
    kept, entry = to_episode(foreign, OPTIONS, SIZE)
    assert (len(kept), entry["notes"][0]) == (5, "zero first action kept")
    dropped, entry = to_episode(foreign, replace(OPTIONS, drop_zero_first=True), SIZE)
    np.testing.assert_array_equal(dropped.frames, kept.frames[1:])
    np.testing.assert_array_equal(dropped.proprio, kept.proprio[1:])
    np.testing.assert_array_equal(dropped.requested, kept.requested[1:])
    assert entry["notes"][0] == "zero first action dropped"
    moving = replace(foreign, actions=foreign.actions + np.float32(0.001))
    assert len(to_episode(moving, replace(OPTIONS, drop_zero_first=True), SIZE)[0]) == 5


def test_gripper_on_its_way_takes_the_value_it_settles_at() -> None:
    commands = np.array([1, 0.56, 0.3, 0.0, 0.16, 0.98, 0.5], np.float32)
    assert settled(commands).tolist() == [1, 0, 0, 0, 1, 1, 1]
    assert settled(np.array([0.4, 0.6])).tolist() == [0, 1]
    foreign = make(
        7, actions=np.column_stack([np.zeros((7, 6)), commands]).astype(np.float32)
    )
    assert (
        to_episode(foreign, OPTIONS, SIZE)[0].requested[:, 6].tolist() == commands.tolist()
    )
    binary, _ = to_episode(foreign, replace(OPTIONS, binarize_gripper=True), SIZE)
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
            make(3, stamps_ns=nanoseconds(stamps, "stamps")), OPTIONS, SIZE
        )
        assert episode.stamps_ns.tolist() == [0, 200_000_000, 400_000_000, 600_000_000]
        assert "time stamps do not increase, replaced" in entry["notes"]


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
def test_task_is_named_as_asked_and_else_by_what_there_is(
    task_from: str, language: tuple[str, ...], folder: str, task: str, note: str | None
) -> None:
    foreign = make(2, language=language, place=BridgePath("n", "f", "d", folder))
    episode, entry = to_episode(foreign, replace(OPTIONS, task_from=task_from), SIZE)
    assert (episode.task, entry["named"]) == (task, task)
    assert note is None or note in entry["notes"]


def test_task_map_renames_what_was_normalised() -> None:
    options = replace(OPTIONS, task_map={"put carrot on plate": "carrot"})
    episode, entry = to_episode(make(2), options, SIZE)
    assert (episode.task, entry["named"]) == ("carrot", "put carrot on plate")
    assert normalise(" Turn_lever  vertical_to-front") == "turn lever vertical to-front"


def test_nameless_task_is_refused() -> None:
    with pytest.raises(
        RecordError, match="neither a folder nor an instruction names the task"
    ):
        to_episode(make(2, place=BridgePath("n")), OPTIONS, SIZE)


def test_episode_without_a_transition_is_left_out() -> None:
    one = make(1)
    for options, foreign in (
        (
            OPTIONS,
            replace(
                one,
                pictures=one.pictures[:1],
                states=one.states[:1],
                actions=one.actions[:0],
            ),
        ),
        (replace(OPTIONS, drop_zero_first=True), one),
    ):
        with pytest.raises(SkipRecord) as left_out:
            to_episode(foreign, options, SIZE)
        assert left_out.value.fate == RecordStatus.TOO_SHORT


def test_black_pictures_stand_for_a_camera_that_was_not_there() -> None:
    black = [jpeg(np.zeros((24, 32, 3), np.uint8))] * 3
    with pytest.raises(SkipRecord, match="black") as left_out:
        to_episode(make(2, pictures=black), OPTIONS, SIZE)
    assert left_out.value.fate == RecordStatus.NO_CAMERA
    lit = [*black[:2], jpeg(np.full((24, 32, 3), 9, np.uint8))]
    assert to_episode(make(2, pictures=lit), OPTIONS, SIZE)[0].frames.any()


def test_small_pictures_are_enlarged_and_said_so() -> None:
    _, entry = to_episode(make(2), OPTIONS, (64, 48))
    assert "pictures enlarged" in entry["notes"]
    assert entry["picture"] == [24, 32]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (
            np.zeros((24, 32), np.uint8),
            r"picture 1 is uint8 \(24, 32\), expected uint8 \(H, W, 3\)",
        ),
        (np.zeros((24, 32, 3)), r"picture 1 is float64"),
        (np.zeros((0, 32, 3), np.uint8), "picture 1 is uint8"),
        (
            np.zeros((12, 16, 3), np.uint8),
            r"the pictures change their shape: \(12, 16, 3\), \(24, 32, 3\)",
        ),
        (memoryview(b"\xff\xd8 and then nothing"), "picture 1 is truncated"),
        (b"\x89PNG", "picture 1: compressed image"),
    ],
)
def test_pictures_that_are_none_are_refused(picture: object, message: str) -> None:
    foreign = make(1)
    with pytest.raises(RecordError, match=message):
        to_episode(replace(foreign, pictures=[foreign.pictures[0], picture]), OPTIONS, SIZE)
