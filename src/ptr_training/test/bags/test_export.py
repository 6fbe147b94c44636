"""`ptr export`: the store, the audit, the command and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time as clock
from pathlib import Path

import numpy as np
import pytest
from scripted_bags import (
    DISCARD,
    READ,
    Script,
    write,
)

from ptr_common import cli
from ptr_common.errors import PtrError
from ptr_training.bags import export as bag_export
from ptr_training.bags.errors import BagError
from ptr_training.data.store import EpisodeStore


def make_bags(folder: Path, count: int) -> Path:
    for number in range(count):
        script = Script()
        script.episode((1 + number) * 10**15, steps=4 + number, name=f"e{number}")
        write(folder / f"bag{number}", script, custom={"camera": "front"})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_store_has_the_episodes_rewards_sources_and_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = make_bags(tmp_path / "bags", 3)
    (bags / ".e9.partial").mkdir()
    assert (
        cli.main(
            ["export", str(bags), "--out", str(tmp_path / "store"), "--image-size", "8"]
        )
        == 0
    )
    store = EpisodeStore.open(tmp_path / "store")
    store.check_pixels()
    assert [(entry.id, entry.length, entry.source) for entry in store.entries] == [
        ("e0", 4, "bag0"),
        ("e1", 5, "bag1"),
        ("e2", 6, "bag2"),
    ]
    assert (store.info.camera, store.info.camera_width, store.info.camera_height) == (
        "front",
        32,
        24,
    )
    np.testing.assert_array_equal(store.steps["reward"][:5], [0, 1, 1, 1, 0])
    audit = json.loads((tmp_path / "store" / "audit.json").read_text())
    sources = [
        {"name": bag["name"], "sha256": bag["sha256"], "camera_latency": 0.0}
        for bag in audit["bags"]
    ]
    assert list(store.info.sources) == sources
    assert len({source["sha256"] for source in sources}) == 3
    for bag in audit["bags"]:
        assert all(
            sum(topic["fates"].values()) == topic["messages"]
            for topic in bag["topics"].values()
        )
    printed = capsys.readouterr().out
    assert "3 bags, 3 episodes (3 success), 15 steps" in printed
    assert "1 interrupted recordings left out; `ptr recover" in printed


def test_latency_of_the_camera_is_on_the_card_in_the_audit_and_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = make_bags(tmp_path / "bags", 2)
    arguments = [
        "export",
        str(bags),
        "--image-size",
        "8",
        "--camera-latency",
        "0.08",
        "--out",
    ]
    assert cli.main([*arguments, str(tmp_path / "store")]) == 0
    assert (
        "2 bags: camera latency 80.0 ms, taken off the image stamps"
        in capsys.readouterr().out
    )
    store = EpisodeStore.open(tmp_path / "store")
    assert [source["camera_latency"] for source in store.info.sources] == [0.08, 0.08]
    audit = json.loads((tmp_path / "store" / "audit.json").read_text())
    assert [bag["camera_latency"] for bag in audit["bags"]] == [0.08, 0.08]


def test_impossible_latency_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(
            [
                "export",
                str(tmp_path),
                "--out",
                str(tmp_path / "store"),
                "--camera-latency",
                "80",
            ]
        )
        == 2
    )
    assert "camera_latency is 80.0; allowed are 0 to 1 s" in capsys.readouterr().err


def test_export_is_the_same_to_the_byte_whatever_the_number_of_processes(
    tmp_path: Path,
) -> None:
    bags = sorted(make_bags(tmp_path / "bags", 3).iterdir())
    stores = []
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        bag_export.export(bags, tmp_path / name / "store", READ, workers)
        stores.append(contents(tmp_path / name / "store"))
    assert stores[0] == stores[1] == stores[2]
    assert set(stores[0]) == {
        "audit.json",
        "card.yaml",
        "episodes.json",
        "frames.npy",
        "steps.npy",
    }


def test_bad_bag_among_good_ones_leaves_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = make_bags(tmp_path / "bags", 3)
    (bags / "bag1" / "bag1.mcap").write_bytes(b"")
    for workers in ("1", "2"):
        status = cli.main(
            ["export", str(bags), "--out", str(tmp_path / "store"), "--workers", workers]
        )
        assert status == 2
        assert "bag1.mcap is empty" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["bags"]


def test_bags_of_different_cameras_do_not_mix(tmp_path: Path) -> None:
    bags = make_bags(tmp_path / "bags", 1)
    script = Script()
    script.episode(10**18, steps=4, name="other")
    for message in script.messages:
        message.topic = message.topic.replace("front", "side")
    write(bags / "other", script)
    with pytest.raises(
        BagError,
        match="other has camera side of 32x24 pixels, the bags before it front of 32x24",
    ):
        bag_export.export(bag_export.find_bags([bags]), tmp_path / "store", READ)


def test_nothing_to_export_is_refused_with_the_reasons(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4, end=DISCARD)
    bag = write(tmp_path / "bag", script)
    with pytest.raises(
        PtrError,
        match="no bag holds an episode that can be used: discarded by the operator",
    ):
        bag_export.export([bag], tmp_path / "store", READ)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="neither a bag nor a folder of bags"):
        bag_export.find_bags([tmp_path / "empty"])


def test_existing_store_is_not_overwritten(tmp_path: Path) -> None:
    bags = make_bags(tmp_path / "bags", 1)
    (tmp_path / "store").mkdir()
    with pytest.raises(PtrError, match="store exists already"):
        bag_export.export(bag_export.find_bags([bags]), tmp_path / "store", READ)


def test_interrupted_export_leaves_neither_store_nor_process(tmp_path: Path) -> None:
    bags = make_bags(tmp_path / "bags", 20)
    command = [
        sys.executable,
        "-m",
        "ptr_common.cli",
        "export",
        str(bags),
        "--out",
        str(tmp_path / "store"),
    ]
    process = subprocess.Popen(
        [*command, "--workers", "2"], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = clock.monotonic() + 60
    while not list(tmp_path.glob(".store.*")):  # it has begun to write
        assert process.poll() is None
        assert clock.monotonic() < deadline
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the workers as well
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"ptr export: interrupted" in errors
    assert b"Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["bags"]
    while process_group_lives(process.pid):
        assert clock.monotonic() < deadline


def process_group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--image-size", "7"), "--image-size is 7; allowed are 8 to 1024 pixels"),
        (("--image-size", "1025"), "--image-size is 1025; allowed are 8 to 1024 pixels"),
        (("--image-size", "-64"), "--image-size is -64; allowed are 8 to 1024 pixels"),
        (("--workers", "-1"), "--workers is -1; allowed are 0"),
        (("--camera-latency", "nan"), "camera_latency is nan; allowed are 0 to 1 s"),
        (("--camera-latency", "-0.1"), "camera_latency is -0.1; allowed are 0 to 1 s"),
    ],
)
def test_wrong_values_are_refused_with_the_allowed_ones(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str],
    message: str,
) -> None:
    bags = make_bags(tmp_path / "bags", 1)
    store = str(tmp_path / "store")
    assert cli.main(["export", str(bags), "--out", store, *options]) == 2
    assert f"ptr export: {message}" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("size", ["8", "1024"])
def test_smallest_and_largest_images_are_made(tmp_path: Path, size: str) -> None:
    bags, store = make_bags(tmp_path / "bags", 1), str(tmp_path / "store")
    assert cli.main(["export", str(bags), "--out", store, "--image-size", size]) == 0
    assert EpisodeStore.open(store).info.image_width == int(size)


def test_table_counts_messages_and_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script()
    script.episode(10**15, steps=4, name="kept")
    script.episode(2 * 10**15, steps=5, name="dropped", end=DISCARD)
    write(tmp_path / "bag", script)
    store = str(tmp_path / "store")
    assert cli.main(["export", str(tmp_path / "bag"), "--out", store]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["topic", "messages", "used", "dropped"]
    assert lines[1].split() == ["/arm/command", "9", "4", "5", "discarded"]
    assert "1 bags, 1 episodes (1 success), 4 steps, 0 of them held" in lines[-2]
    assert lines[-1] == "dropped episode dropped of bag: discarded by the operator"


def test_bags_with_equal_ids_are_both_named_or_taken_under_new_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, name, begin in (("a", "mon", 1), ("a", "tue", 2), ("b", "tue", 3)):
        script = Script()
        script.episode(begin * 10**15, steps=4, name="first")
        write(tmp_path / folder / name, script)
    arguments = ["export", str(tmp_path / "a"), str(tmp_path / "b"), "--image-size", "8"]
    arguments += ["--out", str(tmp_path / "store")]
    assert cli.main(arguments) == 2
    both = f"'first' is in {tmp_path / 'a/mon'} and in {tmp_path / 'a/tue'}; --rename"
    assert both in capsys.readouterr().err
    assert cli.main([*arguments, "--rename"]) == 0
    store = EpisodeStore.open(tmp_path / "store")
    names = ["mon/first", "tue/first", "tue/first-2"]
    assert [entry.id for entry in store.entries] == names
    audit = json.loads((tmp_path / "store" / "audit.json").read_text())
    assert [bag["episodes"][0]["id"] for bag in audit["bags"]] == names


def test_a_copy_of_a_bag_is_not_taken_twice(tmp_path: Path) -> None:
    bag = make_bags(tmp_path / "bags", 1) / "bag0"
    shutil.copytree(bag, tmp_path / "copy")
    bags = [bag, tmp_path / "copy"]
    with pytest.raises(BagError, match=f"copy has the same contents as {bag}"):
        bag_export.export(bags, tmp_path / "store", READ, rename=True)


def test_a_bag_without_start_among_others_is_named_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = make_bags(tmp_path / "bags", 1)
    script = Script()
    script.episode(10**18, steps=4)
    script.messages = [message for message in script.messages if message.stamp > 10**18]
    write(bags / "late", script)
    assert cli.main(["export", str(bags), "--out", str(tmp_path / "store")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no episode of late: ")
    assert "holds no START" in last
