"""NumPy files of BridgeData: shared frames, old forms, and what may be wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prior_data import FOLDER, Demonstration, Payload, numpy_episode, write_numpy

from ptr_common.files import sha256
from ptr_training.errors import TrainingError
from ptr_training.importers.base import (
    ImportOptions,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
)
from ptr_training.importers.bridge_numpy import find, read
from ptr_training.importers.to_episode import to_episode

OPTIONS = ImportOptions()
SIZE = (24, 24)


def read_one(tmp_path: Path, episode: Any, **options: object) -> SourceEpisode:
    (record,) = find([write_numpy(tmp_path / FOLDER / "train/out.npy", [episode])])
    return read(record, ImportOptions(**options))  # type: ignore[arg-type]


def test_file_becomes_the_episodes_it_was_made_from(tmp_path: Path) -> None:
    made = [Demonstration.make(length, seed=length) for length in (3, 6)]
    file = write_numpy(
        tmp_path / FOLDER / "val/out.npy", [numpy_episode(each) for each in made]
    )
    (file.parent / "out_rew.npy").write_bytes(b"")
    records = find([tmp_path])
    assert [record.label for record in records] == [
        f"{FOLDER}/val/out.npy#0",
        f"{FOLDER}/val/out.npy#1",
    ]
    for record, wanted in zip(records, made, strict=True):
        source = read(record, OPTIONS)
        episode, entry = to_episode(source, OPTIONS, SIZE)
        assert (episode.id, episode.source, episode.task) == (
            record.label,
            FOLDER,
            "put carrot on plate",
        )
        assert entry["sha256"] == sha256(file)
        np.testing.assert_array_equal(np.stack(source.images), np.stack(wanted.cameras[0]))
        np.testing.assert_array_equal(episode.requested, wanted.actions.astype(np.float32))
        np.testing.assert_array_equal(episode.proprio, wanted.states.astype(np.float32))
        assert np.diff(episode.stamps_ns).tolist() == [200_000_000] * len(episode)
        assert "no instruction" in entry["notes"]


def test_frames_stored_twice_are_taken_once(tmp_path: Path) -> None:
    made = Demonstration.make(length=4)
    episode = numpy_episode(made)
    episode["next_observations"] = [
        {key: value.copy() for key, value in each.items()}
        for each in episode["next_observations"]
    ]
    np.testing.assert_array_equal(
        np.stack(read_one(tmp_path, episode).images), np.stack(made.cameras[0])
    )


def test_next_observation_that_is_not_the_next_one_is_refused(tmp_path: Path) -> None:
    episode = numpy_episode(Demonstration.make(length=4))
    episode["next_observations"] = [
        episode["next_observations"][index] for index in (0, 2, 2, 3)
    ]
    with pytest.raises(
        RecordError, match=r"next_observations\[1\] is not observations\[2\]"
    ):
        read_one(tmp_path, episode)


def test_flattened_images_with_channels_first_are_turned_back(tmp_path: Path) -> None:
    made = Demonstration.make(length=3)
    square = [image[:, :24] for image in made.cameras[0]]
    made.cameras[0] = [image.transpose(2, 0, 1).ravel() for image in square]
    np.testing.assert_array_equal(
        np.stack(read_one(tmp_path, numpy_episode(made)).images), np.stack(square)
    )


def test_time_stamps_and_instructions_of_later_files_are_read(tmp_path: Path) -> None:
    episode = numpy_episode(Demonstration.make(length=2), language=["put it", "", "there"])
    observations = [episode["observations"][0], *episode["next_observations"]]
    for number, observation in enumerate(observations):
        observation["time_stamp"] = 100 + 0.25 * number
    source = read_one(tmp_path, episode)
    assert source.stamps_ns.tolist() == [100_000_000_000, 100_250_000_000, 100_500_000_000]
    assert source.language == ("put it", "there")
    assert read_one(tmp_path, episode | {"language": [""]}).language == ()


def test_camera_is_chosen_by_its_number(tmp_path: Path) -> None:
    made = Demonstration.make()
    source = read_one(tmp_path, numpy_episode(made), camera="1")
    np.testing.assert_array_equal(np.stack(source.images), np.stack(made.cameras[1]))
    with pytest.raises(SkipRecord, match="no images2") as skipped:
        read_one(tmp_path, numpy_episode(made), camera="2")
    assert skipped.value.status == RecordStatus.NO_CAMERA
    with pytest.raises(SkipRecord):
        read_one(tmp_path, numpy_episode(made), exclude=("toykitchen1",))


def test_episode_without_a_transition_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(SkipRecord) as skipped:
        read_one(tmp_path, {"observations": [], "next_observations": [], "actions": []})
    assert skipped.value.status == RecordStatus.TOO_SHORT


def features(made: Demonstration) -> dict[str, Any]:
    made.cameras[0] = [np.zeros(2048, np.float32) for _ in made.cameras[0]]
    return numpy_episode(made)


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        ("text", "the episode: found str, expected a dictionary"),
        (
            {"observations": [], "actions": []},
            "lacks next_observations; it has observations, actions",
        ),
        (
            {"observations": 3, "next_observations": [], "actions": []},
            "observations: found int, expected a list",
        ),
        (
            numpy_episode(Demonstration.make()) | {"next_observations": []},
            "5 observations, 0 next_observations",
        ),
        (
            numpy_episode(Demonstration.make()) | {"actions": [np.zeros(7)] * 4},
            "6 images, 6 states, 4 actions",
        ),
        (
            numpy_episode(Demonstration.make()) | {"actions": [np.zeros(6)] * 5},
            r"actions have shape \(5, 6\)",
        ),
        (features(Demonstration.make()), r"images0 is float32 \(2048,\), no image"),
    ],
)
def test_damaged_episode_is_refused(tmp_path: Path, episode: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read_one(tmp_path, episode)


def test_damaged_file_refuses_all_its_episodes(tmp_path: Path) -> None:
    file = write_numpy(
        tmp_path / "train/out.npy", [numpy_episode(Demonstration.make())] * 3
    )
    file.write_bytes(file.read_bytes()[:-100])
    records = find([tmp_path])
    assert len(records) == 3  # as its header says
    for record in records:
        with pytest.raises(RecordError, match="the pickle is damaged"):
            read(record, OPTIONS)
    file.write_bytes(b"no array")
    (record,) = find([tmp_path])
    with pytest.raises(RecordError, match=r"not an \.npy file"):
        read(record, OPTIONS)


def test_file_runs_no_command(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"the pickle asks for posix\.system"):
        read_one(
            tmp_path,
            numpy_episode(Demonstration.make(), language=[Payload(tmp_path / "was here")]),
        )
    assert not (tmp_path / "was here").exists()


def test_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no out\.npy"):
        find([tmp_path])
