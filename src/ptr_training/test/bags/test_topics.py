"""The arm, the camera and its latency in a bag, and bags that lack something."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scripted_bags import (
    COMPRESSED,
    MS,
    READ,
    START,
    SUCCESS,
    Script,
    fates,
    header,
    make,
    pixels_of,
    time,
    write,
)

from ptr_common.images import resize_area
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes
from ptr_training.bags.errors import BagError


def late(script: Script, latency: int) -> Script:
    """The same script with camera stamps that are later by so much [ns], also in commands."""
    delayed = Script(script.namespace)
    for message in copy.deepcopy(script.messages):
        if message.topic.endswith("image_raw"):
            stamp = message.value.header.stamp
            message.value.header.stamp = time(stamp.sec * 10**9 + stamp.nanosec + latency)
            message.log_time += latency
        elif (
            observed := getattr(message.value, "observation_stamp", None)
        ) and observed.sec:
            message.value.observation_stamp = time(
                observed.sec * 10**9 + observed.nanosec + latency
            )
        delayed.messages.append(message)
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
        computed = stamp + latency if answers else stamp
        script.command(
            number, computed, begin + 6 * number * 1000 * MS // 30 if answers else 0
        )
    script.event(SUCCESS, begin + 1100 * MS)
    custom = {"camera": "front", "camera_latency": "0.13"}
    true = read_episodes(write(tmp_path / "true", script), READ).episodes[0]
    marked = read_episodes(
        write(tmp_path / "marked", late(script, latency), custom=custom), READ
    )
    (episode,) = marked.episodes
    for name in ("frames", "stamps_ns", "proprio", "requested", "executed"):
        np.testing.assert_array_equal(getattr(episode, name), getattr(true, name))
    assert marked.audit["camera_latency"] == pytest.approx(0.13)
    asked = replace(READ, camera_latency=0.13)
    unmarked = write(tmp_path / "unmarked", late(script, latency))
    np.testing.assert_array_equal(
        read_episodes(unmarked, asked).episodes[0].proprio, true.proprio
    )
    assert not np.array_equal(
        read_episodes(unmarked, READ).episodes[0].proprio, true.proprio
    )


def test_latency_of_another_camera_is_not_taken(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    bag = write(
        tmp_path / "bag", script, custom={"camera": "wrist", "camera_latency": "0.2"}
    )
    assert read_episodes(bag, replace(READ, camera="front")).audit["camera_latency"] == 0.0


@pytest.mark.parametrize("value", ["soon", "-0.1", "2", "nan"])
def test_impossible_latency_in_a_bag_is_refused_with_the_option(
    tmp_path: Path, script: Script, value: str
) -> None:
    script.episode(10**18, steps=4)
    bag = write(
        tmp_path / "bag", script, custom={"camera": "front", "camera_latency": value}
    )
    with pytest.raises(
        BagError,
        match=rf"bag: camera_latency is '{value}'; allowed .* say .* with --camera-latency",
    ):
        read_episodes(bag, READ)
    assert read_episodes(bag, replace(READ, camera_latency=0.08)).episodes


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
        result.episodes[0].frames[0], resize_area(pixels_of(200), (8, 8))
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


def without(script: Script, *suffixes: str) -> Script:
    script.messages = [
        message for message in script.messages if not message.topic.endswith(suffixes)
    ]
    return script


def test_bags_that_lack_something_are_refused_by_name(tmp_path: Path) -> None:
    missing = {
        "image_raw": "holds no images; its topics are /arm/command, /arm/executed, /arm/state",
        "arm/command": "holds no commands: no topic ends in arm/command, there are /arm/executed",
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


def test_images_without_stamp_take_their_time_of_arrival(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    for message in script.messages:
        if message.topic.endswith("image_raw"):
            message.value.header = header(0)
    result = read_episodes(write(tmp_path / "bag", script), READ)
    np.testing.assert_array_equal(
        result.episodes[0].frames[1], resize_area(pixels_of(6), (8, 8))
    )
    assert result.audit["topics"]["/camera/front/image_raw"]["without stamp"] == 26


def test_raw_and_compressed_images_of_a_camera_are_one_camera(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    for number in range(30):
        stamp = 10**18 + number * 33 * MS
        jpeg = cv2.imencode(".png", pixels_of(100 + number)[..., ::-1])[1].ravel()
        for form in ("compressed", "zstd", "compressedDepth"):
            value = make(COMPRESSED, header(stamp), "png", jpeg)
            script.add(f"camera/front/image_raw/{form}", stamp, value)
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    assert result.camera == "front"
    assert fates(result, "/camera/front/image_raw")["used"] == 5
    assert fates(result, "/camera/front/image_raw/zstd") == {"not needed": 30}
    other = replace(READ, camera="/camera/front/image_raw/compressed")
    result = read_episodes(bag, other)
    assert result.camera == "front"
    np.testing.assert_array_equal(
        result.episodes[0].frames[0], resize_area(pixels_of(100), (8, 8))
    )


def test_a_camera_without_a_name_is_given_one(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    for message in script.messages:
        message.topic = message.topic.replace("camera/front/image_raw", "usb_cam/image")
    bag = write(tmp_path / "bag", script)
    assert read_episodes(bag, READ).camera == "/usb_cam/image"
    named = read_episodes(bag, replace(READ, camera="front=/usb_cam/image"))
    assert named.camera == "front"
    assert len(named.episodes) == 1
    with pytest.raises(BagError, match=r"no camera '/cam'; choose .* from: /usb_cam/image"):
        read_episodes(bag, replace(READ, camera="front=/cam"))
