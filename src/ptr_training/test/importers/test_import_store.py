"""`ptr import`: the store, the audit and the command. Formats have tests of their own, so has foreign.py."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
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
    numpy_episode,
    rlds_features,
    write_numpy,
    write_raw,
    write_shard,
)

from ptr_common import cli
from ptr_common.errors import PtrError
from ptr_training.data.episode import StoreError
from ptr_training.data.normalization import check_alike
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.importers.base import ImportOptions
from ptr_training.importers.import_store import (
    FORMATS,
    Request,
    import_store,
    load_task_map,
    table,
)

SAMPLE = Path(__file__).parents[5] / "shared/data/bridge_rlds_sample/bridge_dataset/1.0.0"
OPTIONS = ImportOptions()
SIZE = {"image_height": 8, "image_width": 8}


def payloads(count: int, **more: list) -> list[bytes]:
    return [
        example(rlds_features(Demonstration.make(3 + number, seed=number), number, **more))
        for number in range(count)
    ]


def shard(tmp_path: Path, count: int = 5) -> Path:
    return write_shard(tmp_path / "prior" / "x.tfrecord-00000-of-00001", payloads(count))


def request(tmp_path: Path, source: Path, **changes: Any) -> Request:
    return replace(
        Request("rlds", (source,), tmp_path / "store", OPTIONS, SIZE, workers=1), **changes
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def stop_at(tmp_path: Path, number: int, count: int = 5) -> Path:
    """Import a shard that is damaged at a record, so that the ones before are kept; return it, mended."""
    file = shard(tmp_path, count)
    whole, bad = file.read_bytes(), bytearray(file.read_bytes())
    bad[FORMATS["rlds"].find([file])[number].offset + 200] ^= 1
    file.write_bytes(bad)
    with pytest.raises(TrainingError, match=f"record {number}: the checksum of its data"):
        import_store(request(tmp_path, file))
    file.write_bytes(whole)
    return file


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
    card = store.card
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
    assert "25      225  in all, 1 steps clipped" in printed
    assert (
        "25 episodes may have been cut off before their end; as success their last steps are labelled"
        in printed
    )
    assert not [
        name
        for name, content in contents(out).items()
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
            request(
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
        request(tmp_path, shard(tmp_path), card={"image_height": 16, "image_width": 16})
    )
    simulated = EpisodeStore.open(
        make_store("sim", camera="over_shoulder", command="requested")
    )
    check_alike([simulated, EpisodeStore.open(tmp_path / "store")])


def test_store_is_the_same_to_the_byte_whatever_the_number_of_processes(
    tmp_path: Path,
) -> None:
    file = shard(tmp_path, 20)
    stores = []
    for folder, workers in (("a", 1), ("b", 2)):
        import_store(
            request(tmp_path, file, out=tmp_path / folder / "store", workers=workers)
        )
        stores.append(contents(tmp_path / folder / "store"))
    assert stores[0] == stores[1]
    assert set(stores[0]) == {
        "audit.json",
        "card.yaml",
        "episodes.json",
        "frames.npy",
        "steps.npy",
    }


def test_every_record_has_one_fate_and_they_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = payloads(3)
    black = cv2.imencode(".jpg", np.zeros((24, 32, 3), np.uint8))[1].tobytes()
    other = f"/x/{FOLDER}_in_sink/train/out.npy".encode()
    records = [
        *good,
        good[1],
        *payloads(
            1,
            **{
                "steps/observation/image_0": [black] * 4,
                "episode_metadata/episode_id": [50],
            },
        ),
        *payloads(1, **{"episode_metadata/file_path": [other]}),
        example(
            rlds_features(Demonstration.make(7, seed=9), 2)
        ),  # not the one that has this name
        example({"actions": [1.0]}),
        example(rlds_features(Demonstration.make(4), 60)),
        example(rlds_features(Demonstration.make(4), 61)),
    ]
    file = write_shard(tmp_path / "prior/x.tfrecord", records)
    options = replace(OPTIONS, exclude=("in_sink",))
    audit = import_store(request(tmp_path, file, options=options, skip_bad=True, limit=4))
    assert audit["fates"] == {
        "used": 4, "bad": 2, "duplicate": 1, "without this camera": 1, "excluded": 1, "over the limit": 1,
    }  # fmt: skip
    assert sum(audit["fates"].values()) == audit["total"] == len(records)
    assert [entry["fate"] for entry in audit["records"]].count("used") == len(
        EpisodeStore.open(tmp_path / "store")
    )
    printed = table(audit)
    assert "10 records: 4 used, 2 bad" in printed
    assert (
        f"x.tfrecord#6 is bad: another record is {FOLDER}/train/out.npy#2 too, with other content"
        in printed
    )
    assert "x.tfrecord#7 is bad: no RLDS episode of BridgeData" in printed
    assert (tmp_path / "store/audit.json").read_text() == json.dumps(audit, indent=1) + "\n"


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
            f"{folder}: record 0: picture 2 is empty; --skip-bad leaves damaged records out"
        )
        assert message in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["prior"]
    assert cli.main([*command, "--skip-bad"]) == 2
    assert "nothing to import: of 1 records, 1 bad" in capsys.readouterr().err
    write_raw(tmp_path / "prior", Demonstration.make(), number=1)
    assert cli.main([*command, "--skip-bad"]) == 0
    assert (
        f"{DATED}/raw/traj_group0/traj0 is bad: picture 2 is empty"
        in capsys.readouterr().out
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
        import_store(request(tmp_path, file, format="bridge-numpy"))
    assert not (tmp_path / "was here").exists()


def test_pictures_of_two_sizes_do_not_mix(tmp_path: Path) -> None:
    write_raw(tmp_path / "prior", Demonstration.make())
    small = Demonstration.make()
    small.cameras = [[picture[::2] for picture in pictures] for pictures in small.cameras]
    write_raw(tmp_path / "prior", small, number=1)
    with pytest.raises(
        TrainingError,
        match="traj1: record 0: its pictures have 32x12 pixels, those before 32x24",
    ):
        import_store(request(tmp_path, tmp_path / "prior", format="bridge-raw"))


def test_stopped_import_goes_on_to_equal_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_store(request(tmp_path, shard(tmp_path), out=tmp_path / "whole" / "store"))
    file = stop_at(tmp_path, 3)
    assert "3 records are kept in" in capsys.readouterr().err
    bad = bytearray(file.read_bytes())
    bad[200] ^= 1  # whether the import begins again shows in whether it meets this
    file.write_bytes(bad)
    import_store(request(tmp_path, file))
    assert contents(tmp_path / "store") == contents(tmp_path / "whole/store")


def test_killed_import_goes_on_to_equal_bytes(tmp_path: Path) -> None:
    for number in range(12):
        write_raw(tmp_path / "prior", Demonstration.make(2, seed=number), number)
    options = ["--image-size", "8", "--workers", "1"]
    command = [
        sys.executable,
        "-m",
        "ptr_common.cli",
        "import",
        "bridge-raw",
        str(tmp_path / "prior"),
        *options,
    ]
    assert (
        subprocess.run(
            [*command, "--out", str(tmp_path / "whole/store")], check=False, timeout=60
        ).returncode
        == 0
    )
    gate = tmp_path / "prior" / DATED / "raw/traj_group0/traj9/policy_out.pkl"
    content = gate.read_bytes()
    gate.unlink()
    os.mkfifo(gate)  # the import stops here until somebody writes
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "store")], stderr=subprocess.DEVNULL
    )
    with gate.open("wb"):
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    gate.unlink()
    gate.write_bytes(content)
    journal = (tmp_path / ".store.partial/journal.jsonl").read_text().splitlines()
    assert (
        len(journal) == 1 + 8
    )  # of what the process was given at a time, the first part was done
    assert not (tmp_path / "store").exists()
    assert (
        subprocess.run(
            [*command, "--out", str(tmp_path / "store")], check=False, timeout=60
        ).returncode
        == 0
    )
    assert contents(tmp_path / "store") == contents(tmp_path / "whole/store")
    EpisodeStore.open(tmp_path / "store").check_pixels()


def test_other_options_or_sources_do_not_go_on(tmp_path: Path) -> None:
    file = stop_at(tmp_path, 3)
    with pytest.raises(
        StoreError,
        match=r"\.store\.partial was begun with image_size \[8, 8\], now it is \[16, 16\]",
    ):
        import_store(request(tmp_path, file, card={"image_height": 16, "image_width": 16}))
    file.rename(file.with_name("y.tfrecord"))
    with pytest.raises(
        StoreError,
        match=r"begun with record 0 being x\.tfrecord-00000-of-00001#0 \(\d+ bytes\), now it is y",
    ):
        import_store(request(tmp_path, file.with_name("y.tfrecord")))
    write_shard(file, payloads(2))
    with pytest.raises(
        StoreError,
        match=r"record 2 being x\.\S+#2 \(\d+ bytes\), now it is missing; restore the sources",
    ):
        import_store(request(tmp_path, file))


def test_skipped_bad_records_stay_bad_for_who_does_not_skip_them(
    tmp_path: Path, full_disk: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    good = payloads(12)
    file = write_shard(
        tmp_path / "prior/x.tfrecord", [good[0], example({"x": [1]}), *good[1:]]
    )
    with pytest.raises(OSError, match="File too large"), full_disk():
        import_store(request(tmp_path, file, skip_bad=True))
    assert (tmp_path / ".store.partial").is_dir()
    with pytest.raises(TrainingError, match="record 1: no RLDS episode"):
        import_store(request(tmp_path, file))
    assert import_store(request(tmp_path, file, skip_bad=True))["fates"] == {
        "used": 12,
        "bad": 1,
    }


def test_limit_takes_the_first_episodes(tmp_path: Path) -> None:
    file = shard(tmp_path)
    audit = import_store(request(tmp_path, file, limit=2))
    assert audit["fates"] == {"used": 2, "over the limit": 3}
    assert [entry.length for entry in EpisodeStore.open(tmp_path / "store").entries] == [
        3,
        4,
    ]


def test_card_names_sources_without_the_folders_above(tmp_path: Path) -> None:
    file = shard(tmp_path)
    import_store(request(tmp_path, file.parent))
    (source,) = EpisodeStore.open(tmp_path / "store").card.sources
    assert (source["name"], source["episodes"]) == ("prior", 5)
    assert len(source["sha256"]) == 64
    assert not [
        name
        for name, content in contents(tmp_path / "store").items()
        if str(tmp_path).encode() in content
    ]
    other = write_shard(tmp_path / "other/x.tfrecord", payloads(6)[1:])
    import_store(request(tmp_path, other, out=tmp_path / "store 2"))
    assert (
        EpisodeStore.open(tmp_path / "store 2").card.sources[0]["sha256"]
        != source["sha256"]
    )


def test_task_map_renames_tasks_and_names_that_match_none_are_told(
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
        str(shard(tmp_path)),
        "--out",
        str(tmp_path / "store"),
        "--image-size",
        "8",
    ]
    assert cli.main([*command, "--task-map", str(names)]) == 0
    assert EpisodeStore.open(tmp_path / "store").tasks == ("put the carrot on the plate",)
    assert "names of --task-map that no task has: put cart" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: 1\n", "a: {b: c}\n", "a: [", ""])
def test_task_map_that_is_no_table_of_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(
        TrainingError, match=r"names\.yaml (must hold a table of task names|cannot be read)"
    ):
        load_task_map(tmp_path / "names.yaml")


def test_folders_that_hold_several_tasks_are_told(tmp_path: Path) -> None:
    for number, language in enumerate(("put it here", "put it there", "Put it_there")):
        write_raw(
            tmp_path / "prior",
            Demonstration.make(2, seed=number),
            number,
            language=language,
        )
    audit = import_store(request(tmp_path, tmp_path / "prior", format="bridge-raw"))
    assert (
        "1 of the tasks have several instructions ('put carrot on plate': 2): --task-from language"
        in table(audit)
    )
    by_language = replace(OPTIONS, task_from="language")
    audit = import_store(
        request(
            tmp_path,
            tmp_path / "prior",
            format="bridge-raw",
            out=tmp_path / "b",
            options=by_language,
        )
    )
    assert EpisodeStore.open(tmp_path / "b").tasks == ("put it here", "put it there")
    assert "several instructions" not in table(audit)


def test_long_tables_are_cut(tmp_path: Path) -> None:
    entries = [
        {
            "record": f"r{n}",
            "fate": "used",
            "task": f"t{n}",
            "named": f"t{n}",
            "steps": 1,
            "language": [],
        }
        for n in range(30)
    ] + [{"record": f"b{n}", "fate": "bad", "reason": "x"} for n in range(30)]
    audit = {
        "records": entries,
        "steps": 30,
        "clipped": 0,
        "total": 60,
        "fates": {},
        "notes": {},
        "task_from": "folder",
    }
    printed = table(audit | {"task_map": {}}).splitlines()
    assert len(printed) < 60
    assert "… and 10 more tasks" in printed
    assert "… and 10 more, see audit.json" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--image-size", "4"],
            "stored images of 4x4 pixels; allowed are 8 to 1024 each way, see --image-size",
        ),
        (["--limit", "-1"], "--limit and --workers must be >= 0"),
        (
            ["--camera", "wrist"],
            "--camera is 'wrist', but this format only numbers its cameras",
        ),
        (["--include", "nothing"], "nothing to import: of 5 records, 5 excluded"),
        (["--task-map", "missing.yaml"], "missing.yaml"),
        (
            ["--state", "x,y"],
            "--state is an option of lerobot, rlds has none such; leave it out",
        ),
        (
            ["--action", "1,2,3"],
            "--action is an option of lerobot, rlds has none such; leave it out",
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
                str(shard(tmp_path)),
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
        import_store(request(tmp_path, tmp_path / "missing"))
    (tmp_path / "store").mkdir()
    with pytest.raises(PtrError, match="store exists already"):
        import_store(request(tmp_path, shard(tmp_path)))
