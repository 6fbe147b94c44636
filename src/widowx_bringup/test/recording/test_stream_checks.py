"""Frozen images and several publishers, as the recorder sees them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("ptr_msgs.msg", reason="ptr_msgs is not built")

from ptr_common.images import RawImage
from ptr_msgs.msg import ArmState
from widowx_bringup.recording.recorded_topic import RecordedTopic
from widowx_bringup.recording.stream_checks import FrozenImages, rival_publishers

PERIOD_NS = 33_000_000


def image(number: int) -> RawImage:
    pixels = np.random.default_rng(number).integers(0, 256, 48 * 64 * 3, np.uint8)
    return RawImage(0, 48, 64, "rgb8", 192, pixels)


def watch(step: float, *, same_from: int, frames: int = 60) -> list[bool]:
    """Let the arm move by a step [m] per image; return after each image if it is frozen."""
    images = FrozenImages()
    frozen = []
    for number in range(frames):
        state = ArmState()
        state.proprio[0] = 0.2 + step * number
        images.on_arm(state)
        images.on_image(image(min(number, same_from)), number * PERIOD_NS)
        frozen.append(images.frozen)
    return frozen


@pytest.mark.parametrize("step", [0.001, 0.0002])
def test_a_camera_that_sends_one_image_while_the_arm_moves_is_frozen(step: float) -> None:
    frozen = watch(step, same_from=20)
    assert not any(frozen[:25])
    assert frozen[-1]


def test_images_that_change_are_not_frozen() -> None:
    assert not any(watch(0.001, same_from=60))


def test_an_arm_at_rest_may_look_the_same() -> None:
    assert not any(watch(0.0, same_from=0))


def test_an_image_that_changes_again_is_not_frozen() -> None:
    images = FrozenImages()
    for number in range(40):
        state = ArmState()
        state.proprio[0] = 0.001 * number
        images.on_arm(state)
        images.on_image(image(0), number * PERIOD_NS)
    assert images.frozen
    images.on_image(image(1), 40 * PERIOD_NS)
    assert not images.frozen


def graph(names: dict[str, list[str]]) -> Any:
    """Return a node that sees publishers, by topic."""
    return SimpleNamespace(
        count_publishers=lambda topic: len(names[topic]),
        get_publishers_info_by_topic=lambda topic: [
            SimpleNamespace(node_namespace="/wx", node_name=name) for name in names[topic]
        ],
    )


def topic(name: str, *, shared: bool = False) -> RecordedTopic:
    return RecordedTopic(name, "a/msg/B", pre_roll=False, needed=False, shared=shared)


def test_two_publishers_of_a_topic_are_named() -> None:
    topics = [topic("/wx/a"), topic("/wx/b")]
    node = graph({"/wx/a": ["one"], "/wx/b": ["two", "one"]})
    expected = "2 nodes publish /wx/b: /wx/one, /wx/two; stop all but one"
    assert rival_publishers(node, topics) == expected


def test_topics_that_may_be_shared_have_no_rivals() -> None:
    node = graph({"/wx/a": ["one", "two"]})
    assert rival_publishers(node, [topic("/wx/a", shared=True)]) == ""
