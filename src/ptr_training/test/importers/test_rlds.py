"""RLDS: the real sample against its known values, and made-up records, damaged ones among them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from prior_data import FOLDER, Demonstration, example, framed, rlds_features, write_shard

from ptr_training.errors import TrainingError
from ptr_training.importers.base import (
    ImportOptions,
    Record,
    RecordError,
    RecordStatus,
    SkipRecord,
)
from ptr_training.importers.rlds import find, masked_crc, read, read_payload
from ptr_training.importers.tf_example import (
    byte_strings,
    floats,
    integers,
    parse_example,
)
from ptr_training.importers.to_episode import to_episode

SAMPLE = Path(__file__).parents[5] / "shared/data/bridge_rlds_sample/bridge_dataset/1.0.0"
OPTIONS = ImportOptions()
SIZE = (8, 8)
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"{SAMPLE} is not there")


def read_one(tmp_path: Path, payload: bytes, **options: object) -> object:
    (record,) = find([write_shard(tmp_path / "x.tfrecord", [payload])])
    return read(record, ImportOptions(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sample() -> list[Record]:
    return find([SAMPLE])


@needs_sample
def test_sample_has_its_25_episodes_in_both_splits(sample: list[Record]) -> None:
    assert [record.path.name.split(".")[0] for record in sample] == [
        "bridge_dataset-train"
    ] * 25 + ["bridge_dataset-val"] * 25
    names = {
        "train": [("cup", 5), ("pot", 0), ("pot", 1)],
        "val": [("pot", 3), ("carrot", 0), ("cup", 3)],
    }
    folders = {
        "carrot": "put_carrot_on_plate",
        "cup": "put_cup_from_counter_or_drying_rack_into_sink",
        "pot": "flip_pot_upright_which_is_in_sink",
    }
    for start, split in ((0, "train"), (25, "val")):
        ids = [read(record, OPTIONS).id for record in sample[start : start + 3]]
        domain = "bridge_data_v1/berkeley/toysink2_bww"
        assert ids == [
            f"{domain}/{folders[task]}/val/out.npy#{number}"
            for task, number in names[split]
        ]


@needs_sample
def test_sample_has_the_known_actions(sample: list[Record]) -> None:
    actions = {}
    for record in sample[:25]:
        features = parse_example(read_payload(record))
        path = byte_strings(features, "episode_metadata/file_path")[0]
        actions[path, int(integers(features, "episode_metadata/episode_id")[0])] = floats(
            features, "steps/action"
        ).tobytes()
    digest = hashlib.sha256(b"".join(actions[key] for key in sorted(actions))).hexdigest()
    assert digest == "70aa2bb2ddb770275e1edb470f7d7f1d552b7f10c7b3c0de2b2598cb0f89cca7"


@needs_sample
def test_sample_has_the_known_images(sample: list[Record]) -> None:
    images = [
        bytes(image)
        for record in sample[:25]
        for camera in range(4)
        for image in byte_strings(
            parse_example(read_payload(record)), f"steps/observation/image_{camera}"
        )
    ]
    assert (len(images), len(set(images))) == (1000, 751)


@needs_sample
def test_cameras_of_the_sample_are_taken_for_what_they_show_not_for_their_flags(
    sample: list[Record],
) -> None:
    for camera in ("0", "1", "2"):
        assert to_episode(read(sample[0], ImportOptions(camera=camera)), OPTIONS, SIZE)[
            0
        ].frames.any()
    with pytest.raises(SkipRecord) as skipped:
        to_episode(read(sample[0], ImportOptions(camera="3")), OPTIONS, SIZE)
    assert skipped.value.status == RecordStatus.NO_CAMERA


def test_masked_checksum_is_that_of_tensorflow() -> None:
    # CRC-32C of 32 zero bytes is 8a9136aa (RFC 3720, B.4); rotated right by 15 and
    # increased by a282ead8
    assert masked_crc(bytes(32)) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) % (
        1 << 32
    )


@pytest.mark.parametrize("packed", [True, False])
def test_record_becomes_the_episode_it_was_made_from(tmp_path: Path, packed: bool) -> None:
    made = Demonstration.make(length=6)
    source = read_one(tmp_path, example(rlds_features(made, episode_id=7), packed))
    episode, entry = to_episode(source, OPTIONS, SIZE)
    assert episode.id == f"{FOLDER}/train/out.npy#7"
    assert (episode.task, episode.outcome, episode.source) == (
        "put carrot on plate",
        "success",
        FOLDER,
    )
    np.testing.assert_array_equal(episode.frames, made.frames(8))
    np.testing.assert_array_equal(episode.requested, made.actions.astype(np.float32))
    np.testing.assert_array_equal(episode.proprio, made.states.astype(np.float32))
    assert np.diff(episode.stamps_ns).tolist() == [200_000_000] * 6
    assert entry["notes"] == ["padding action dropped", "zero first action kept"]
    assert (
        entry["sha256"]
        == hashlib.sha256(example(rlds_features(made, episode_id=7), packed)).hexdigest()
    )


def test_last_action_of_the_published_form_is_dropped_and_said_so(tmp_path: Path) -> None:
    made = Demonstration.make(length=6)
    actions = np.vstack([made.actions, np.full(7, 0.01)]).ravel().tolist()
    source = read_one(tmp_path, example(rlds_features(made) | {"steps/action": actions}))
    assert source.notes == ("last action dropped: no observation follows it",)
    np.testing.assert_array_equal(source.actions, made.actions.astype(np.float32))


def test_end_of_a_record_is_its_last_step_with_any_flags(tmp_path: Path) -> None:
    made = Demonstration.make(length=6)
    source = read_one(tmp_path, example(rlds_features(made) | {"steps/is_last": [0] * 7}))
    assert len(source.actions) == 6
    assert "last step not marked as the last: cut off before the end?" in source.notes


def test_other_camera_is_chosen_by_its_number_only(tmp_path: Path) -> None:
    made = Demonstration.make()
    payload = example(rlds_features(made))
    episode, _ = to_episode(read_one(tmp_path, payload, camera="1"), OPTIONS, SIZE)
    np.testing.assert_array_equal(episode.frames, made.frames(8, camera=1))
    with pytest.raises(
        TrainingError, match="--camera is 'wrist', but this format only numbers its cameras"
    ):
        read_one(tmp_path, payload, camera="wrist")
    with pytest.raises(
        RecordError,
        match="it lacks steps/observation/image_2; it has episode_metadata/episode_id, ",
    ):
        read_one(tmp_path, payload, camera="2")


def test_later_form_is_named_by_the_folder_it_was_made_from(tmp_path: Path) -> None:
    path = f"/nfs/author/raw/{FOLDER}/2022-03-04_05-06-07/raw/traj_group0/traj12".replace(
        "_v1", "_v2"
    )
    features = rlds_features(Demonstration.make(), episode_id=None)
    source = read_one(
        tmp_path, example(features | {"episode_metadata/file_path": [path.encode()]})
    )
    assert source.id == path.removeprefix("/nfs/author/raw/")
    assert (source.bridge_path.task, str(source.bridge_path.collected)) == (
        "put_carrot_on_plate",
        "2022-03-04 05:06:07",
    )


def test_record_that_names_no_file_is_named_by_its_place_and_instruction(
    tmp_path: Path,
) -> None:
    features = rlds_features(Demonstration.make(), episode_id=None)
    del features["episode_metadata/file_path"]
    episode, entry = to_episode(read_one(tmp_path, example(features)), OPTIONS, SIZE)
    assert (episode.id, episode.task) == ("x.tfrecord#0", "put carrot on plate")
    assert "task named by language" in entry["notes"]


def test_instructions_are_taken_once_and_empty_ones_not_at_all(tmp_path: Path) -> None:
    features = rlds_features(Demonstration.make(length=2))
    several = example(features | {"steps/language_instruction": [b"a", b"a", b"b"]})
    assert read_one(tmp_path, several).language == ("a", "b")
    assert (
        read_one(
            tmp_path, example(features | {"steps/language_instruction": [b""] * 3})
        ).language
        == ()
    )


def test_excluded_record_is_left_out_by_the_path_it_names(tmp_path: Path) -> None:
    payload = example(rlds_features(Demonstration.make()))
    with pytest.raises(SkipRecord) as skipped:
        read_one(tmp_path, payload, exclude=("carrot",))
    assert skipped.value.status == RecordStatus.EXCLUDED
    assert read_one(tmp_path, payload, exclude=("nfs", "author"))  # above the collection


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps/action": [0.0] * 41}, "steps/action has 41 numbers, no multiple of seven"),
        ({"steps/action": [0.0] * 35}, "6 images, 5 actions; a step of RLDS has both"),
        ({"steps/action": [1] * 42}, "steps/action holds integers, expected floats"),
        (
            {"steps/action": [float("nan")] * 42},
            "the actions hold values that are not finite",
        ),
        (
            {"steps/observation/state": [0.0] * 35},
            "6 images, 5 states, 5 actions; there must be one action less",
        ),
        ({"steps/observation/image_0": []}, "0 images, 6 actions"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        read_one(tmp_path, example(rlds_features(Demonstration.make()) | change))


@pytest.mark.parametrize(
    "payload", [b"\xff" * 40, b"\x0a\xff\x01", b"\x0a\x05\x0a\x09abc", b"\x0b", b"\x0a"]
)
def test_payload_that_is_no_example_is_refused(tmp_path: Path, payload: bytes) -> None:
    with pytest.raises(RecordError, match=r"no tf\.train\.Example"):
        read_one(tmp_path, payload)


def test_foreign_example_is_refused_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(
        RecordError,
        match="no RLDS episode of BridgeData: it lacks steps/observation/image_0; it has actions",
    ):
        read_one(tmp_path, example({"actions": [1.0]}))
    with pytest.raises(RecordError, match="it has nothing"):
        read_one(tmp_path, b"")


def damaged(tmp_path: Path, change: str) -> list[Record]:
    records = [
        framed(example(rlds_features(Demonstration.make(seed=number))))
        for number in range(3)
    ]
    bad = bytearray(records[1])
    if change == "cut":
        records[1:] = [bytes(bad[:-9])]
    else:
        bad[{"data": 300, "length": 2, "checksum": -1}[change]] ^= 1
        records[1] = bytes(bad)
    (tmp_path / "x.tfrecord").write_bytes(b"".join(records))
    return find([tmp_path])


@pytest.mark.parametrize("change", ["data", "checksum"])
def test_wrong_checksum_is_found_and_the_records_around_it_are_read(
    tmp_path: Path, change: str
) -> None:
    first, bad, last = damaged(tmp_path, change)
    with pytest.raises(RecordError, match=r"the checksum of its data \(CRC-32C\) is wrong"):
        read(bad, OPTIONS)
    assert read(first, OPTIONS)
    assert read(last, OPTIONS)
    assert [record.number for record in (first, bad, last)] == [0, 1, 2]


def test_wrong_length_hides_the_rest_of_the_file(tmp_path: Path) -> None:
    _, bad = damaged(tmp_path, "length")
    with pytest.raises(
        RecordError, match="nothing can be read from here to the end of the file"
    ):
        read(bad, OPTIONS)


def test_truncated_record_is_found(tmp_path: Path) -> None:
    _, bad = damaged(tmp_path, "cut")
    with pytest.raises(
        RecordError, match=r"truncated: \d+ bytes long, but the file ends after \d+ of them"
    ):
        read(bad, OPTIONS)
    (tmp_path / "x.tfrecord").write_bytes(b"\0" * 5)
    with pytest.raises(RecordError, match="checksum of its length"):
        read(find([tmp_path])[0], OPTIONS)


def test_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no TFRecord shard"):
        find([tmp_path])


def test_sidecars_are_no_shards_and_missing_ones_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = example(rlds_features(Demonstration.make()))
    for number in (0, 2):
        write_shard(tmp_path / f"a.tfrecord-0000{number}-of-00004", [payload])
    (tmp_path / "._a.tfrecord-00000-of-00004").write_bytes(b"\0\5\x16\7")
    assert len(find([tmp_path])) == 2
    assert "a.tfrecord: 2 of 4 shards are there, number 1 is the" in capsys.readouterr().out


def test_a_git_lfs_pointer_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(
        TrainingError, match=r"a\.tfrecord is a Git LFS pointer.*git lfs pull"
    ):
        find([tmp_path])
