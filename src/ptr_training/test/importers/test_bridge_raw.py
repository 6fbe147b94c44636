"""Raw folders of BridgeData: order of frames, latency, cameras, names, and damaged files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from prior_data import DATED, FOLDER, TOPICS, Demonstration, Payload, write_raw

from ptr_training.errors import TrainingError
from ptr_training.importers.base import (
    ImportOptions,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
)
from ptr_training.importers.bridge_raw import find, read
from ptr_training.importers.to_episode import to_episode

OPTIONS = ImportOptions()
SIZE = (8, 8)


def read_one(root: Path, **options: object) -> SourceEpisode:
    (record,) = find([root])
    return read(record, ImportOptions(**options))  # type: ignore[arg-type]


def test_folder_becomes_the_episode_it_was_made_from(tmp_path: Path) -> None:
    made = Demonstration.make(
        length=12
    )  # im_10 and im_11 stand before im_2 in the alphabet
    write_raw(tmp_path, made, number=1003, language="Put carrot\nconfidence: 1\n")
    episode, entry = to_episode(read_one(tmp_path), OPTIONS, SIZE)
    assert episode.id == f"{DATED}/raw/traj_group1/traj1003"
    assert (episode.task, episode.source) == ("put carrot on plate", DATED)
    np.testing.assert_array_equal(episode.frames, made.frames(8))
    np.testing.assert_array_equal(episode.requested, made.actions.astype(np.float32))
    np.testing.assert_array_equal(episode.proprio, made.states.astype(np.float32))
    assert episode.stamps_ns[0] == 1627800000_500_000_000
    assert (
        np.abs(np.diff(episode.stamps_ns) - 200_000_000).max() < 1000
    )  # the source keeps seconds in 64 bits
    assert entry["language"] == ["Put carrot"]
    assert entry["collected"] == "2021-08-01 10:20:30"
    assert entry["domain"] == "toykitchen1"


@pytest.mark.parametrize(
    ("date", "shifted"),
    [
        ("2021-07-22_23-59-59", True),
        ("2021-07-23_00-00-00", False),
        ("2021-07-24_08-00-00", False),
    ],
)
def test_old_recordings_are_shifted_for_latency(
    tmp_path: Path, date: str, shifted: bool
) -> None:
    made = Demonstration.make(length=6)
    write_raw(tmp_path, made, dated=f"{FOLDER}/{date}")
    episode, entry = to_episode(read_one(tmp_path), OPTIONS, SIZE)
    first = int(shifted)
    np.testing.assert_array_equal(episode.frames, made.frames(8)[first:])
    np.testing.assert_array_equal(episode.proprio, made.states.astype(np.float32)[first:])
    np.testing.assert_array_equal(
        episode.requested, made.actions.astype(np.float32)[: 6 - first]
    )
    assert ("shifted for latency" in entry["notes"]) == shifted


def test_undated_recording_is_not_shifted_and_said_so(tmp_path: Path) -> None:
    write_raw(tmp_path, Demonstration.make(), dated=f"{FOLDER}/yesterday")
    assert "undated: not shifted for latency" in read_one(tmp_path).notes


def test_cameras_are_found_by_topic_number_and_place(tmp_path: Path) -> None:
    made = Demonstration.make()
    write_raw(tmp_path, made)
    config = tmp_path / DATED / "config.json"
    for topics, camera, number in (
        (TOPICS[:2], "", 0),
        (TOPICS[1::-1], "", 1),
        (["/wrist/image_raw", {"name": "/cam0/image_raw"}], "", 1),
        (TOPICS[::-1], "wrist", 0),
        (TOPICS, "/blue/image_raw", 1),
        (TOPICS[1::-1], "1", 1),
    ):
        config.write_text(
            json.dumps({"agent": {"env": ["Env", {"camera_topics": topics}]}})
        )
        images = to_episode(read_one(tmp_path, camera=camera), OPTIONS, SIZE)[0].frames
        np.testing.assert_array_equal(images, made.frames(8, number))
    config.unlink()
    source = read_one(tmp_path)
    assert source.notes == ("fixed camera not named by config.json, images0 taken",)
    np.testing.assert_array_equal(
        to_episode(source, OPTIONS, SIZE)[0].frames, made.frames(8)
    )


@pytest.mark.parametrize(
    ("camera", "message"),
    [("2", "no images2"), ("wrist", "names /D435/color/image_raw, /blue")],
)
def test_recording_without_the_camera_is_left_out(
    tmp_path: Path, camera: str, message: str
) -> None:
    write_raw(tmp_path, Demonstration.make())
    with pytest.raises(SkipRecord, match=message) as skipped:
        read_one(tmp_path, camera=camera)
    assert skipped.value.status == RecordStatus.NO_CAMERA


def test_bare_actions_and_several_instructions_are_read(tmp_path: Path) -> None:
    made = Demonstration.make()
    folder = write_raw(tmp_path, made, language="one \n\ntwo\nconfidence: 0.5\n")
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(list(made.actions)))
    source = read_one(tmp_path)
    np.testing.assert_array_equal(source.actions, made.actions.astype(np.float32))
    assert source.language == ("one", "two")


def test_recordings_are_found_from_any_folder_in_the_order_of_their_numbers(
    tmp_path: Path,
) -> None:
    for number in (10, 9, 1000):
        write_raw(tmp_path, Demonstration.make(length=1), number)
    write_raw(
        tmp_path, Demonstration.make(length=1), dated=f"{FOLDER}_lmdb/2021-08-01_10-20-30"
    )
    names = [
        f"{DATED}/raw/traj_group0/traj9",
        f"{DATED}/raw/traj_group0/traj10",
        f"{DATED}/raw/traj_group1/traj1000",
    ]
    assert [record.label for record in find([tmp_path])] == names
    assert [
        record.label for record in find([tmp_path / names[1], tmp_path / FOLDER / "../.."])
    ] == [names[1], *names]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty holds no demonstration"):
        find([tmp_path / "empty"])


def test_filters_see_the_folders_below_the_collection_only(tmp_path: Path) -> None:
    root = tmp_path / "test" / "zip"
    write_raw(root, Demonstration.make())
    assert read_one(root, exclude=("test", "zip", "traj", "images"))
    for options in (
        {"exclude": ("on_pla",)},
        {"exclude": ("kitchen1/put",)},
        {"include": ("sink", "drawer")},
    ):
        with pytest.raises(SkipRecord) as skipped:
            read_one(root, **options)
        assert skipped.value.status == RecordStatus.EXCLUDED


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("obs_dict.pkl", None, "obs_dict.pkl is missing"),
        ("policy_out.pkl", None, "policy_out.pkl is missing"),
        ("images0/im_3.jpg", None, "images0/im_3.jpg is missing"),
        ("images0/im_0.jpg", None, "images0/im_0.jpg is missing"),
        (
            "images0/im_5.jpg",
            None,
            "5 images, 6 states, 6 time stamps, 5 actions; there must be one action less",
        ),
        ("images0/im_3.jpg", b"", "image 3 is empty"),
        ("images0/im_3.jpg", b"no image", "image 3: compressed image"),
        ("obs_dict.pkl", b"\x80\x04", "obs_dict.pkl: the pickle is damaged"),
        ("obs_dict.pkl", pickle.dumps({"state": 1}), "obs_dict.pkl holds no full_state"),
        (
            "obs_dict.pkl",
            pickle.dumps({"full_state": [[0.0] * 4] * 6}),
            r"states of obs_dict.pkl have shape \(6, 4\)",
        ),
        (
            "obs_dict.pkl",
            pickle.dumps({"full_state": [[0.0] * 7, [0.0]]}),
            "states of obs_dict.pkl are no numbers",
        ),
        (
            "obs_dict.pkl",
            pickle.dumps({"full_state": [[np.nan] * 7] * 6}),
            "the states hold values that are not finite",
        ),
        (
            "obs_dict.pkl",
            pickle.dumps({"full_state": [[1e300] * 7] * 6}),
            "the states hold values that are not finite",
        ),
        (
            "policy_out.pkl",
            pickle.dumps([{"action": 1}] * 5),
            "policy_out.pkl holds a step without actions",
        ),
        (
            "policy_out.pkl",
            pickle.dumps("text"),
            "actions of policy_out.pkl are no numbers",
        ),
        ("../../../config.json", b"{}", "config.json names no agent"),
    ],
)
def test_damaged_recording_is_refused(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    folder = write_raw(tmp_path, Demonstration.make())
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(RecordError, match=message):
        to_episode(read_one(tmp_path), OPTIONS, SIZE)


def test_image_with_a_huge_number_is_no_reason_to_count_up_to_it(tmp_path: Path) -> None:
    folder = write_raw(tmp_path, Demonstration.make()) / "images0"
    (folder / "im_5.jpg").rename(folder / f"im_{10**12}.jpg")
    with pytest.raises(RecordError, match=r"images0/im_5\.jpg is missing"):
        read_one(tmp_path)


def test_truncated_jpeg_is_refused_although_it_decodes(tmp_path: Path) -> None:
    file = write_raw(tmp_path, Demonstration.make()) / "images0/im_2.jpg"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(
        RecordError, match=r"image 2 is truncated: \d+ bytes without the end of a JPEG"
    ):
        to_episode(read_one(tmp_path), OPTIONS, SIZE)


def test_pickles_run_no_command_and_agent_data_is_never_read(tmp_path: Path) -> None:
    folder = write_raw(tmp_path, Demonstration.make())
    evil = pickle.dumps({"full_state": Payload(tmp_path / "was here")})
    (folder / "agent_data.pkl").write_bytes(evil)
    assert read_one(tmp_path)
    (folder / "obs_dict.pkl").write_bytes(evil)
    with pytest.raises(
        RecordError, match=r"obs_dict.pkl: the pickle asks for posix\.system"
    ):
        read_one(tmp_path)
    assert not (tmp_path / "was here").exists()
