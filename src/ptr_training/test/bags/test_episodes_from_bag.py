"""Bags to episodes. The bags are written by the rosbags library, in every storage it knows."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from scripted_bags import (
    COMPRESSED,
    DISCARD,
    FAILURE,
    MESSAGES,
    MS,
    READ,
    SIZE,
    START,
    STOP,
    STORE,
    SUCCESS,
    Script,
    check_sums,
    fates,
    header,
    make,
    picture,
    time,
    write,
)

from ptr_common.images import resize_area
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes
from ptr_training.bags.mcap_reader import BagError
from ptr_training.bags.reader import Bag

STORAGES = [
    (StoragePlugin.MCAP, CompressionMode.NONE),
    (StoragePlugin.MCAP, CompressionMode.STORAGE),
    (StoragePlugin.SQLITE3, CompressionMode.NONE),
    (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    (StoragePlugin.SQLITE3, CompressionMode.FILE),
]


@pytest.mark.parametrize(("storage", "compression"), STORAGES)
@pytest.mark.parametrize("namespace", ["", "/wx250s"])
def test_episode_comes_back_from_every_storage(
    tmp_path: Path, namespace: str, storage: StoragePlugin, compression: CompressionMode
) -> None:
    script = Script(namespace)
    begin = 10**18
    script.episode(begin, steps=5)
    custom = {"operator": "Ada", "camera": "front"}
    bag = write(
        tmp_path / "bag", script, storage=storage, compression=compression, custom=custom
    )
    result = read_episodes(bag, READ)
    [episode] = result.episodes
    assert (episode.id, episode.task, episode.outcome) == (
        "e1",
        "put red in bowl",
        "success",
    )
    assert (episode.operator, episode.source, episode.seed, len(episode)) == (
        "Ada",
        "bag",
        12,
        5,
    )
    assert (result.camera, result.camera_size) == ("front", (32, 24))
    numbers = [
        0,
        6,
        12,
        18,
        24,
        30,
    ]  # the newest images when the commands were given, and one period later
    np.testing.assert_array_equal(
        episode.frames, [resize_area(picture(number), (8, 8)) for number in numbers]
    )
    np.testing.assert_array_equal(
        episode.stamps_ns, [begin + number * 1000 * MS // 30 for number in numbers]
    )
    np.testing.assert_allclose(episode.proprio[:, 0], np.array([0, 4, 8, 12, 16, 20]) / 100)
    np.testing.assert_allclose(episode.requested[:, 0], np.arange(5) / 1000)
    np.testing.assert_allclose(episode.executed[:, 0], np.arange(5) / 2000)
    assert fates(result, f"{namespace}/arm/command") == {"used": 5}
    assert fates(result, f"{namespace}/camera/front/image_raw") == {
        "used": 6,
        "superseded": 25,
        "outside episode": 1,
    }
    check_sums(bag, result)


def test_header_stamps_count_and_not_the_order_of_arrival(tmp_path: Path) -> None:
    results = []
    for name, jitter in (("orderly", 0), ("jumbled", 400)):
        script = Script()
        script.episode(10**18, steps=8)
        rng = np.random.default_rng(3)
        for message in script.messages:
            message.log_time += int(rng.integers(0, jitter + 1)) * MS
        results.append(read_episodes(write(tmp_path / name, script), READ).episodes[0])
    for name in ("frames", "stamps_ns", "proprio", "requested", "executed"):
        np.testing.assert_array_equal(getattr(results[0], name), getattr(results[1], name))


def test_command_that_answers_an_image_gets_that_image(
    tmp_path: Path, script: Script
) -> None:
    begin = 10**18
    script.event(START, begin)
    stamps = [begin + number * 1000 * MS // 30 for number in range(40)]
    for number, stamp in enumerate(stamps):
        script.image(number, stamp)
        script.state(number, stamp)
    for number, answered in enumerate((2, 8, 14, 20)):
        script.command(number, stamps[answered] + 90 * MS, observed=stamps[answered])
    script.event(FAILURE, begin + 1200 * MS)
    [episode] = read_episodes(write(tmp_path / "bag", script), READ).episodes
    assert episode.stamps_ns[:-1].tolist() == [stamps[number] for number in (2, 8, 14, 20)]
    np.testing.assert_allclose(episode.executed[:, 0], np.arange(4) / 2000)
    assert episode.outcome == "failure"


def late(script: Script, latency: int) -> Script:
    """The same happenings with a camera whose stamps are later by so much [ns], and commands that answer them."""
    delayed = Script(script.namespace)
    for each in copy.deepcopy(script.messages):
        if each.topic.endswith("image_raw"):
            stamp = each.value.header.stamp
            each.value.header.stamp = time(stamp.sec * 10**9 + stamp.nanosec + latency)
            each.log_time += latency
        elif (observed := getattr(each.value, "observation_stamp", None)) and observed.sec:
            each.value.observation_stamp = time(
                observed.sec * 10**9 + observed.nanosec + latency
            )
        delayed.messages.append(each)
    return delayed


@pytest.mark.parametrize("answers", [False, True])
def test_latency_of_the_camera_is_taken_off_its_stamps(
    tmp_path: Path, answers: bool
) -> None:
    latency, begin = 130 * MS, 10**18
    script = Script()
    script.event(START, begin, text="seed=12")
    for number in range(40):
        script.image(number, begin + number * 1000 * MS // 30)
        script.state(number, begin + number * 37 * MS)
    for number in range(5):
        stamp = begin + (3 + 200 * number) * MS
        script.command(
            number, stamp, begin + 6 * number * 1000 * MS // 30 if answers else 0
        )
    script.event(SUCCESS, begin + 1100 * MS)
    custom = {"camera": "front", "camera_latency": "0.13"}
    true = read_episodes(write(tmp_path / "true", script), READ).episodes[0]
    told = read_episodes(
        write(tmp_path / "told", late(script, latency), custom=custom), READ
    )
    (episode,) = told.episodes
    for name in ("frames", "stamps_ns", "proprio", "requested", "executed"):
        np.testing.assert_array_equal(getattr(episode, name), getattr(true, name))
    assert told.audit["camera_latency"] == pytest.approx(0.13)
    asked = replace(READ, camera_latency=0.13)
    untold = write(tmp_path / "untold", late(script, latency))
    np.testing.assert_array_equal(
        read_episodes(untold, asked).episodes[0].proprio, true.proprio
    )
    assert not np.array_equal(read_episodes(untold, READ).episodes[0].proprio, true.proprio)


def test_latency_of_another_camera_is_not_taken(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    bag = write(
        tmp_path / "bag", script, custom={"camera": "wrist", "camera_latency": "0.2"}
    )
    assert read_episodes(bag, replace(READ, camera="front")).audit["camera_latency"] == 0.0


@pytest.mark.parametrize("said", ["soon", "-0.1", "2", "nan"])
def test_impossible_latency_in_a_bag_is_refused_with_the_option(
    tmp_path: Path, script: Script, said: str
) -> None:
    script.episode(10**18, steps=4)
    bag = write(
        tmp_path / "bag", script, custom={"camera": "front", "camera_latency": said}
    )
    with pytest.raises(
        BagError,
        match=rf"bag: camera_latency is '{said}'; allowed .* say .* with --camera-latency",
    ):
        read_episodes(bag, READ)
    assert read_episodes(bag, replace(READ, camera_latency=0.08)).episodes


def test_several_episodes_are_split_by_their_events(tmp_path: Path, script: Script) -> None:
    second = 10**9
    script.episode(10 * second, steps=4, name="a")
    script.episode(20 * second, steps=5, name="b", end=DISCARD)
    script.episode(30 * second, steps=6, name="c", end=FAILURE)
    script.episode(
        40 * second, steps=3, name="d", end=0
    )  # no end event; the next START ends it
    script.episode(41 * second, steps=4, name="e", end=STOP)
    script.event(SUCCESS, 60 * second, "unheard of")
    script.episode(
        70 * second, steps=4, name="f", end=0
    )  # the recording ends before it does
    script.command(99, 65 * second)
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    found = [(episode.id, len(episode), episode.outcome) for episode in result.episodes]
    assert found == [
        ("a", 4, "success"),
        ("c", 6, "failure"),
        ("d", 3, "stop"),
        ("e", 4, "stop"),
        ("f", 4, "interrupted"),
    ]
    assert fates(result, "/arm/command") == {
        "used": 21,
        "discarded": 5,
        "outside episode": 1,
    }
    assert fates(result, "/arm/executed") == {
        "used": 21,
        "discarded": 5,
        "outside episode": 1,
    }
    assert fates(result, "/episode/event") == {"used": 10, "unmatched": 1}
    assert {entry["id"]: entry.get("refused") for entry in result.audit["episodes"]}[
        "b"
    ] == "discarded by the operator"
    check_sums(bag, result)


def test_bag_of_plain_ros2_bag_record_takes_task_and_outcome_from_the_user(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4, events=False)
    bag = write(tmp_path / "mine", script, storage=StoragePlugin.SQLITE3)
    with pytest.raises(BagError, match="does not say what was done; say it with --task"):
        read_episodes(bag, READ)
    [episode] = read_episodes(
        bag, ReadOptions(image_size=8, task="fold", outcome="failure")
    ).episodes
    assert (episode.id, episode.task, episode.outcome) == ("mine", "fold", "failure")


def test_task_of_the_user_does_not_override_the_events(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script)
    with pytest.raises(
        BagError, match="says its task is 'put red in bowl', --task says 'fold'"
    ):
        read_episodes(bag, ReadOptions(task="fold"))


def test_start_sent_twice_is_one_episode(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    script.event(START, 10**18 + 300 * MS)
    result = read_episodes(write(tmp_path / "bag", script), READ)
    assert [len(episode) for episode in result.episodes] == [4]
    assert fates(result, "/episode/event") == {"used": 2, "duplicate": 1}


def strip_definitions(bag: Path) -> None:
    """Make an SQLite bag look like one of Humble, which stores no message definitions."""
    [database] = bag.glob("*.db3")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE message_definitions")
        connection.execute("UPDATE schema SET schema_version = 3")
    connection.close()


def test_bag_without_definitions_takes_the_installed_ones_or_says_how(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script, storage=StoragePlugin.SQLITE3)
    strip_definitions(bag)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "nowhere"))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(
        BagError,
        match=r"does not define ptr_msgs/msg/\w+, and ptr_msgs is not installed.*setup file",
    ):
        read_episodes(bag, READ)
    share = tmp_path / "workspace" / "share" / "ptr_msgs"
    share.mkdir(parents=True)
    (share / "msg").symlink_to(MESSAGES)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "workspace"))
    assert len(read_episodes(bag, READ).episodes[0]) == 4


def test_compressed_images_are_decoded(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    for message in script.messages:
        if message.topic.endswith("image_raw"):
            pixels = message.value.data.reshape(*SIZE, 3)
            _, png = cv2.imencode(".png", pixels[..., ::-1])
            message.topic += "/compressed"
            message.value = make(
                COMPRESSED,
                message.value.header,
                "rgb8; png compressed bgr8",
                png.reshape(-1),
            )
    result = read_episodes(write(tmp_path / "bag", script), READ)
    assert result.camera == "front"
    np.testing.assert_array_equal(
        result.episodes[0].frames[1], resize_area(picture(6), (8, 8))
    )


def test_camera_is_the_one_recorded_for_or_the_one_asked_for(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    for number in range(30):
        script.image(
            200 + number, 10**18 + number * 33 * MS, topic="camera/wrist/image_raw"
        )
        script.image(100 + number, 10**18 + number * 33 * MS, topic="blue/image_raw")
    bag = write(tmp_path / "bag", script)
    with pytest.raises(
        BagError,
        match=r"several cameras; choose with --camera from: /blue/image_raw, front, wrist",
    ):
        read_episodes(bag, READ)
    with pytest.raises(
        BagError,
        match=r"has no camera 'side'; choose with --camera from: /blue/image_raw, front",
    ):
        read_episodes(bag, ReadOptions(camera="side"))
    result = read_episodes(bag, ReadOptions(image_size=8, camera="wrist"))
    np.testing.assert_array_equal(
        result.episodes[0].frames[0], resize_area(picture(200), (8, 8))
    )
    assert fates(result, "/camera/front/image_raw") == {"other camera": 26}
    assert (
        read_episodes(bag, ReadOptions(camera="/blue/image_raw")).camera
        == "/blue/image_raw"
    )
    marked = write(tmp_path / "marked", script, custom={"camera": "front"})
    assert read_episodes(marked, READ).camera == "front"


def test_each_camera_of_a_bag_has_its_own_latency(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    for number in range(30):
        script.image(number, 10**18 + number * 33 * MS, topic="camera/wrist/image_raw")
    names = {"camera": "front", "cameras": "front,wrist"}
    bag = write(tmp_path / "bag", script, custom={**names, "camera_latency": "0.08,0.03"})
    latencies = [
        read_episodes(bag, ReadOptions(camera=name)).audit["camera_latency"]
        for name in ("front", "wrist")
    ]
    assert latencies == [0.08, 0.03]


def break_message(
    script: Script, topic: str, number: int, raw: Callable[[bytes], bytes]
) -> None:
    message = [message for message in script.messages if message.topic == topic][number]
    message.raw = raw(bytes(STORE.serialize_cdr(message.value, message.value.__msgtype__)))


def test_damaged_messages_are_counted_and_replaced_by_the_one_before(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=5)
    images = "/camera/front/image_raw"
    break_message(script, images, 6, lambda data: data[:-100])
    break_message(script, images, 7, lambda data: data[:3])
    break_message(script, "/arm/state", 8, lambda data: data[:40])
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    [episode] = result.episodes
    np.testing.assert_array_equal(episode.frames[1], resize_area(picture(5), (8, 8)))
    np.testing.assert_allclose(episode.proprio[:, 0], np.array([0, 4, 7, 12, 16, 20]) / 100)
    assert fates(result, images)["undecodable"] == 2
    assert fates(result, "/arm/state")["undecodable"] == 1
    check_sums(bag, result)


def test_values_that_are_not_finite_never_reach_an_episode(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=5)
    by_topic: dict[str, list[Any]] = {}
    for message in script.messages:
        by_topic.setdefault(message.topic, []).append(message.value)
    by_topic["/arm/state"][4].proprio[2] = np.nan
    by_topic["/arm/command"][2].action[0] = np.inf
    by_topic["/arm/executed"][3].action[0] = np.nan
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    [episode] = result.episodes
    assert np.isfinite(episode.proprio).all()
    np.testing.assert_allclose(
        episode.requested[:, 0], np.array([0, 1, 0, 3, 4]) / 1000
    )  # the arm held still
    np.testing.assert_allclose(episode.executed[:, 0], np.array([0, 1, 0, 0, 4]) / 2000)
    assert fates(result, "/arm/command") == {"used": 4, "not finite": 1}
    assert fates(result, "/arm/executed") == {"used": 3, "unmatched": 1, "not finite": 1}
    assert result.audit["episodes"][0]["held"] == 1
    assert result.audit["episodes"][0]["not executed"] == 1
    check_sums(bag, result)


def test_images_without_stamp_take_their_time_of_arrival(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    for message in script.messages:
        if message.topic.endswith("image_raw"):
            message.value.header = header(0)
    result = read_episodes(write(tmp_path / "bag", script), READ)
    np.testing.assert_array_equal(
        result.episodes[0].frames[1], resize_area(picture(6), (8, 8))
    )
    assert result.audit["topics"]["/camera/front/image_raw"]["without stamp"] == 26


def test_hole_in_the_images_refuses_the_episode_and_says_so(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=10, name="holed")
    script.messages = [
        message
        for message in script.messages
        if not (
            message.topic.endswith("image_raw")
            and 600 * MS < message.stamp - 10**18 < 1400 * MS
        )
    ]
    script.episode(2 * 10**18, steps=4, name="good")
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    assert [episode.id for episode in result.episodes] == ["good"]
    assert "the newest image is" in result.audit["episodes"][0]["refused"]
    assert fates(result, "/arm/command") == {"used": 4, "refused": 10}
    check_sums(bag, result)


def test_topics_that_say_nothing_are_accounted_for(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    text = make("std_msgs/msg/String", "hello")
    for topic in ("joint_states", "sim/world", "chatter"):
        script.add(topic, 10**18, text)
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    assert (
        fates(result, "/joint_states") == fates(result, "/sim/world") == {"not needed": 1}
    )
    assert fates(result, "/chatter") == {"unknown topic": 1}
    check_sums(bag, result)


def without(script: Script, *suffixes: str) -> Script:
    script.messages = [
        message for message in script.messages if not message.topic.endswith(suffixes)
    ]
    return script


def test_bags_that_lack_something_are_refused_by_name(tmp_path: Path) -> None:
    missing = {
        "image_raw": "holds no images; its topics are /arm/command, /arm/executed, /arm/state, /episode/event",
        "arm/command": "holds no commands: none of its topics ends in arm/command|holds no commands: no topic ends in",
        "arm/state": "holds no /arm/state",
        "arm/executed": "holds no /arm/executed; export it with --command requested",
    }
    for number, (suffix, message) in enumerate(missing.items()):
        script = Script()
        script.episode(10**18, steps=4)
        bag = write(tmp_path / f"bag{number}", without(script, suffix))
        with pytest.raises(BagError, match=f"bag{number} ({message})"):
            read_episodes(bag, READ)
    result = read_episodes(
        tmp_path / "bag3", ReadOptions(image_size=8, command="requested")
    )
    np.testing.assert_array_equal(result.episodes[0].executed, result.episodes[0].requested)


def test_wrong_encoding_names_bag_topic_and_message(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    script.messages = [
        message for message in script.messages if not message.topic.endswith("image_raw")
    ]
    for number in range(26):
        script.image(number, 10**18 + number * 33 * MS, encoding="16UC1")
    with pytest.raises(
        BagError,
        match=r"bag: /camera/front/image_raw, message 0: .*'16UC1'.*rgb8, bgr8, mono8",
    ):
        read_episodes(write(tmp_path / "bag", script), READ)


def test_two_arms_in_one_bag_are_refused(tmp_path: Path) -> None:
    script = Script("/left")
    script.episode(10**18, steps=4)
    script.namespace = "/right"
    script.command(1, 10**18)
    with pytest.raises(
        BagError, match="several arms, /left/arm/command, /right/arm/command"
    ):
        read_episodes(write(tmp_path / "bag", script), READ)


def test_wrong_type_on_a_known_topic_is_refused(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    without(script, "arm/state").add(
        "arm/state", 10**18, make("std_msgs/msg/String", "hello")
    )
    with pytest.raises(
        BagError,
        match=r"/arm/state is a std_msgs/msg/String, expected ptr_msgs/msg/ArmState",
    ):
        read_episodes(write(tmp_path / "bag", script), READ)


def test_paths_that_are_no_bags_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / ".e1.partial").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    wanted = {
        "nothing": "does not exist",
        "empty": "is not a bag: it has no metadata.yaml",
        "text.txt": "is not a bag: expected a folder with metadata.yaml, a .mcap or a .db3 file",
        ".e1.partial": "is an interrupted recording; `ptr recover",
        "broken": "cannot be read",
    }
    for name, message in wanted.items():
        with pytest.raises(BagError, match=message):
            Bag(tmp_path / name)


def test_metadata_that_names_python_objects_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    call = f"!!python/object/apply:os.mkdir ['{tmp_path / 'made'}']"
    (tmp_path / "bag" / "metadata.yaml").write_text(
        f"rosbag2_bagfile_information: {call}\n"
    )
    with pytest.raises(BagError, match="cannot be read"):
        Bag(tmp_path / "bag")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_damaged_storage_is_refused_by_name(
    tmp_path: Path, script: Script, storage: StoragePlugin
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script, storage=storage)
    [file] = [file for file in bag.iterdir() if file.suffix in (".mcap", ".db3")]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BagError, match=r"bag.*(truncated|damaged)"):
        read_episodes(bag, READ)
    file.unlink()
    with pytest.raises(
        BagError, match=rf"{file.name} does not exist, but .*metadata.yaml names it"
    ):
        read_episodes(bag, READ)


def test_bag_whose_metadata_names_another_quality_of_service_is_read(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script, storage=StoragePlugin.SQLITE3)
    described = yaml.safe_load((bag / "metadata.yaml").read_text())
    duration = {"sec": 0, "nsec": 0}
    profile = {
        "history": 1,
        "depth": 10,
        "reliability": 1,
        "durability": 2,
        "deadline": duration,
        "lifespan": duration,
    }
    profile |= {
        "liveliness": 1,
        "liveliness_lease_duration": duration,
        "avoid_ros_namespace_conventions": False,
    }
    for topic in described["rosbag2_bagfile_information"]["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = yaml.safe_dump([profile])
    (bag / "metadata.yaml").write_text(yaml.safe_dump(described))
    assert len(read_episodes(bag, READ).episodes[0]) == 4


def test_single_mcap_file_is_a_bag_too(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    [file] = write(tmp_path / "bag", script).glob("*.mcap")
    assert len(read_episodes(file, READ).episodes[0]) == 4
