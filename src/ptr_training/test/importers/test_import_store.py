"""`ptr import`: the store and the command. Formats have tests of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from prior_data import (
    DATED,
    FOLDER,
    Demonstration,
    Payload,
    example,
    folder_contents,
    import_request,
    numpy_episode,
    rlds_features,
    rlds_payloads,
    write_numpy,
    write_raw,
    write_rlds,
    write_shard,
)

from ptr_common import cli
from ptr_common.errors import PtrError
from ptr_training.data.normalization import check_alike
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.importers.base import ImportOptions
from ptr_training.importers.import_command import _import_options, _parser, load_task_map
from ptr_training.importers.import_store import import_store

ROOT = Path(__file__).parents[4]
SAMPLE = ROOT.parent / "shared/data/bridge_rlds_sample/bridge_dataset/1.0.0"
OPTIONS = ImportOptions()


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"{SAMPLE} is not there")
def test_real_sample_becomes_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    command = [
        "import",
        "rlds",
        str(SAMPLE),
        "--out",
        str(out),
        "--image-size",
        "64",
        "--licence",
        "CC BY 4.0",
    ]
    assert cli.main(command) == 0
    store = EpisodeStore.open(out)
    store.check_pixels()
    assert (len(store), len(store.steps)) == (25, 250)
    assert {
        task: [entry.task for entry in store.entries].count(task) for task in store.tasks
    } == {
        "flip pot upright which is in sink": 5,
        "put carrot on plate": 8,
        "put cup from counter or drying rack into sink": 6,
        "turn lever vertical to-front": 6,
    }
    card = store.info
    assert (card.camera, card.camera_width, card.camera_height, card.licence) == (
        "over_shoulder",
        64,
        64,
        "CC BY 4.0",
    )
    assert (card.command, card.sources[0]["name"]) == ("requested", "bridge_dataset/1.0.0")
    assert store.actions.min(0)[5] == pytest.approx(-0.2543, abs=1e-4)
    assert store.steps["executed"].min(0)[5] == -0.25
    audit = json.loads((out / "audit.json").read_text())
    assert audit["fates"] == {
        "used": 25,
        "duplicate": 25,
    }  # the other split holds the same episodes
    assert audit["notes"] == {
        "last action dropped: no observation follows it": 25,
        "last step not marked as the last: cut off before the end?": 25,
        "zero first action kept": 25,
    }
    assert (audit["steps"], audit["clipped"]) == (225, 1)
    printed = capsys.readouterr().out
    assert "25    225  in all, 1 steps clipped" in printed
    assert (
        "25 episodes may have been cut off before their end; "
        "as success their last steps are labelled" in printed
    )
    assert not [
        name
        for name, content in folder_contents(out).items()
        if b"/nfs" in content or b"homer" in content
    ]


def test_all_formats_of_the_same_demonstration_give_the_same_episode(
    tmp_path: Path,
) -> None:
    made = Demonstration.make(6)
    decoded = [
        [
            cv2.imdecode(
                np.frombuffer(cv2.imencode(".jpg", each[..., ::-1])[1], np.uint8), 1
            )[..., ::-1]
            for each in camera
        ]
        for camera in made.cameras
    ]
    stored = replace(made, cameras=decoded)
    write_raw(tmp_path / "raw", made)
    write_numpy(tmp_path / "numpy" / FOLDER / "train/out.npy", [numpy_episode(stored)])
    write_shard(tmp_path / "rlds/x.tfrecord", [example(rlds_features(made))])
    stores = []
    for name in ("raw", "numpy", "rlds"):
        format_name = name if name == "rlds" else f"bridge-{name}"
        import_store(
            import_request(
                tmp_path,
                tmp_path / name,
                format=format_name,
                out=tmp_path / f"store {name}",
            )
        )
        stores.append(EpisodeStore.open(tmp_path / f"store {name}"))
    check_alike(stores)
    assert stores[1].entries == stores[2].entries
    for store in stores[1:]:
        np.testing.assert_array_equal(store.frames, stores[0].frames)
        for column in ("proprio", "requested", "executed", "reward", "is_last"):
            np.testing.assert_array_equal(store.steps[column], stores[0].steps[column])
    assert stores[0].steps["reward"].tolist() == [0, 0, 0, 1, 1, 1, 0]


def test_imported_and_simulated_demonstrations_can_be_mixed(
    tmp_path: Path, make_store: Any
) -> None:
    import_store(
        import_request(
            tmp_path, write_rlds(tmp_path), info={"image_height": 16, "image_width": 16}
        )
    )
    simulated = EpisodeStore.open(
        make_store("sim", camera="over_shoulder", command="requested")
    )
    check_alike([simulated, EpisodeStore.open(tmp_path / "store")])


def test_store_is_the_same_to_the_byte_with_any_number_of_processes(
    tmp_path: Path,
) -> None:
    file = write_rlds(tmp_path, 20)
    stores = []
    for folder, workers in (("a", 1), ("b", 2)):
        import_store(
            import_request(tmp_path, file, out=tmp_path / folder / "store", workers=workers)
        )
        stores.append(folder_contents(tmp_path / folder / "store"))
    assert stores[0] == stores[1]
    assert set(stores[0]) == {
        "audit.json",
        "card.yaml",
        "episodes.json",
        "frames.npy",
        "steps.npy",
    }


def test_damaged_record_ends_the_import_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_raw(tmp_path / "prior", Demonstration.make())
    (folder / "images0/im_2.jpg").write_bytes(b"")
    for workers in ("1", "2"):
        command = [
            "import",
            "bridge-raw",
            str(tmp_path / "prior"),
            "--out",
            str(tmp_path / "store"),
            "--workers",
            workers,
        ]
        assert cli.main(command) == 2
        message = (
            f"{folder}: record 0: image 2 is empty; --skip-bad leaves damaged records out"
        )
        assert message in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["prior"]
    assert cli.main([*command, "--skip-bad"]) == 2
    assert "nothing to import: of 1 records, 1 bad" in capsys.readouterr().err
    write_raw(tmp_path / "prior", Demonstration.make(), number=1)
    assert cli.main([*command, "--skip-bad"]) == 0
    assert (
        f"{DATED}/raw/traj_group0/traj0 is bad: image 2 is empty" in capsys.readouterr().out
    )


def test_malicious_pickle_is_a_bad_record_and_runs_nothing(tmp_path: Path) -> None:
    made = Demonstration.make()
    episodes = [
        numpy_episode(made),
        numpy_episode(made, language=Payload(tmp_path / "was here")),
    ]
    file = write_numpy(tmp_path / FOLDER / "train/out.npy", episodes)
    with pytest.raises(
        TrainingError, match=r"out\.npy: record 0: the pickle asks for posix\.system"
    ):
        import_store(import_request(tmp_path, file, format="bridge-numpy"))
    assert not (tmp_path / "was here").exists()


def test_images_of_two_sizes_do_not_mix(tmp_path: Path) -> None:
    write_raw(tmp_path / "prior", Demonstration.make())
    small = Demonstration.make()
    small.cameras = [[image[::2] for image in images] for images in small.cameras]
    write_raw(tmp_path / "prior", small, number=1)
    with pytest.raises(
        TrainingError,
        match="traj1: record 0: its images have 32x12 pixels, those before 32x24",
    ):
        import_store(import_request(tmp_path, tmp_path / "prior", format="bridge-raw"))


def test_limit_takes_the_first_episodes(tmp_path: Path) -> None:
    file = write_rlds(tmp_path)
    audit = import_store(import_request(tmp_path, file, limit=2))
    assert audit["fates"] == {"used": 2, "over the limit": 3}
    assert [entry.length for entry in EpisodeStore.open(tmp_path / "store").entries] == [
        3,
        4,
    ]


def test_card_names_sources_without_the_folders_above(tmp_path: Path) -> None:
    file = write_rlds(tmp_path)
    import_store(import_request(tmp_path, file.parent))
    (source,) = EpisodeStore.open(tmp_path / "store").info.sources
    assert (source["name"], source["episodes"]) == ("prior", 5)
    assert len(source["sha256"]) == 64
    assert not [
        name
        for name, content in folder_contents(tmp_path / "store").items()
        if str(tmp_path).encode() in content
    ]
    other = write_shard(tmp_path / "other/x.tfrecord", rlds_payloads(6)[1:])
    import_store(import_request(tmp_path, other, out=tmp_path / "store 2"))
    assert (
        EpisodeStore.open(tmp_path / "store 2").info.sources[0]["sha256"]
        != source["sha256"]
    )


def test_task_map_renames_tasks_and_names_that_match_none_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.yaml"
    names.write_text(
        yaml.safe_dump(
            {"put_carrot_on_plate": "Put the carrot on the plate", "put_cart": "x"}
        )
    )
    command = [
        "import",
        "rlds",
        str(write_rlds(tmp_path)),
        "--out",
        str(tmp_path / "store"),
        "--image-size",
        "8",
    ]
    assert cli.main([*command, "--task-map", str(names)]) == 0
    assert EpisodeStore.open(tmp_path / "store").tasks == ("put the carrot on the plate",)
    assert "names of --task-map that no task has: put cart" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "a: 1\n",
        "a: {b: c}\n",
        "a: [",
        "",
        pytest.param(9999 * "[", id="deep"),
    ],
)
def test_task_map_that_is_no_table_of_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(
        TrainingError, match=r"names\.yaml (must hold a table of task names|cannot be read)"
    ):
        load_task_map(tmp_path / "names.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--image-size", "4"],
            "stored images of 4x4 pixels; allowed are 8 to 1024 in height and width, "
            "see --image-size",
        ),
        (["--out", ""], "--out is '.'; it must name a folder to make"),
        (["--limit", "-1"], "--limit and --workers must be >= 0"),
        (
            ["--camera", "wrist"],
            "--camera is 'wrist', but this format only numbers its cameras",
        ),
        (["--include", "nothing"], "nothing to import: of 5 records, 5 excluded"),
        (["--task-map", "missing.yaml"], "missing.yaml"),
        (
            ["--state", "x,y"],
            "--state is an option of lerobot and lance, rlds does not have it; leave it out",
        ),
        (
            ["--action", "1,2,3"],
            "--action is an option of lerobot and lance, rlds does not have it; leave it out",
        ),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert (
        cli.main(
            [
                "import",
                "rlds",
                str(write_rlds(tmp_path)),
                "--out",
                str(tmp_path / "store"),
                *arguments,
            ]
        )
        == 2
    )
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["prior"]


def test_source_or_store_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PtrError, match="holds no TFRecord shard"):
        import_store(import_request(tmp_path, tmp_path / "missing"))
    (tmp_path / "store").mkdir()
    with pytest.raises(PtrError, match="store exists already"):
        import_store(import_request(tmp_path, write_rlds(tmp_path)))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_data_of_a_scenario_are_options_in_a_file(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    where = ["bridge-numpy", "BRIDGE", "--out", "store"]
    arguments = _parser().parse_args([*where, f"@config/bridge/scenario{number}.txt"])
    options = _import_options(arguments)
    assert options.task_map["open microwave"] == "open door"
    words = {1: "drying_rack", 2: "microwave", 3: "toykitchen6"}
    assert words[number] in options.exclude
    assert options.include == {
        1: ("toykitchen2/", "toykitchen2_room8052/"),
        2: ("open", "close"),
        3: (),
    }.get(number)


def test_official_aliases_lead_to_one_name_each() -> None:
    aliases = load_task_map(ROOT / "config/bridge/task_aliases.yaml")
    assert len(aliases) == 35
    assert aliases["open microwave"] == "open door"
    assert not aliases.keys() & set(aliases.values())
