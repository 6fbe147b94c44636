"""Images and arm states of the steps: decoding, damage and camera sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scripted_bags import (
    COMPRESSED,
    MS,
    READ,
    SIZE,
    STORE,
    Script,
    check_sums,
    fates,
    make,
    pixels_of,
    write,
)

from ptr_common.images import resize_area
from ptr_training.bags.episodes_from_bag import read_episodes
from ptr_training.bags.errors import BagError


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
        result.episodes[0].frames[1], resize_area(pixels_of(6), (8, 8))
    )


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
    np.testing.assert_array_equal(episode.frames[1], resize_area(pixels_of(5), (8, 8)))
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


def test_wrong_encoding_names_bag_topic_and_message(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    script.messages = [
        message for message in script.messages if not message.topic.endswith("image_raw")
    ]
    for number in range(26):
        script.image(number, 10**18 + number * 33 * MS, encoding="16UC1")
    with pytest.raises(
        BagError,
        match=r"bag: /camera/front/image_raw, message 0: .*'16UC1'.*rgb8, bgr8, rgba8",
    ):
        read_episodes(write(tmp_path / "bag", script), READ)


def test_images_of_two_sizes_are_refused_with_the_messages(tmp_path: Path) -> None:
    script = Script()
    script.episode(10**18, steps=4)
    images = [message for message in script.messages if message.topic.endswith("image_raw")]
    other = images[6].value  # of the second step
    pixels = np.zeros((12, 16, 3), np.uint8)
    images[6].value = make(
        "sensor_msgs/msg/Image", other.header, 12, 16, "rgb8", 0, 48, pixels.reshape(-1)
    )
    with pytest.raises(
        BagError,
        match="message 0 is 32x24, message 6 is 16x12 pixels; a bag must keep one camera size",
    ):
        read_episodes(write(tmp_path / "bag", script), READ)


def test_image_of_several_steps_is_the_frame_of_each(tmp_path: Path) -> None:
    script = Script()
    script.episode(10**18, steps=4)
    removed = range(7, 13)  # the third step sees the image of the second
    images = [message for message in script.messages if message.topic.endswith("image_raw")]
    gone = [images[number] for number in removed]
    script.messages = [
        message
        for message in script.messages
        if all(message is not other for other in gone)
    ]
    [episode] = read_episodes(write(tmp_path / "bag", script), READ).episodes
    np.testing.assert_array_equal(episode.frames[1], episode.frames[2])
    np.testing.assert_array_equal(episode.frames[1], resize_area(pixels_of(6), (8, 8)))
    np.testing.assert_array_equal(episode.frames[3], resize_area(pixels_of(18), (8, 8)))


def test_threads_decode_the_same_frames(tmp_path: Path) -> None:
    script = Script()
    script.episode(10**18, steps=60)
    bag = write(tmp_path / "bag", script)
    one, three = (
        read_episodes(bag, replace(READ, threads=threads)).episodes[0] for threads in (1, 3)
    )
    np.testing.assert_array_equal(one.frames, three.frames)
    assert len(one.frames) == 61
