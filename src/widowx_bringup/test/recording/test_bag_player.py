"""The bag player over real DDS: what it publishes, on which clock, and no command."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.images import fill_message  # noqa: E402
from ptr_common.managed_node import to_ns, to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent  # noqa: E402
from widowx_bringup.recording.bag_player import BagPlayer  # noqa: E402
from widowx_bringup.recording.bag_writer import BagWriter, Topic  # noqa: E402
from widowx_bringup.recording.message_definitions import message_definition  # noqa: E402

SECOND = 1_000_000_000
BEGIN = 1000 * SECOND
KINDS = {
    "/left/camera/front/image_raw": ("sensor_msgs/msg/Image", Image),
    "/left/arm/state": ("ptr_msgs/msg/ArmState", ArmState),
    "/left/arm/command": ("ptr_msgs/msg/EefCommand", EefCommand),
    "/left/episode/event": ("ptr_msgs/msg/EpisodeEvent", EpisodeEvent),
}


def write_bag(folder: Path, topics: set[str] = set(KINDS)) -> Path:  # noqa: B006
    """Write half a second of an episode recorded in the namespace `left`."""
    bag = BagWriter(folder, "bag", {})
    for index in range(15):
        stamp_ns = BEGIN + index * SECOND // 30
        for name, (type_name, kind) in KINDS.items():
            if (
                name not in topics
                or (kind is EpisodeEvent and index)
                or (kind is EefCommand and index % 6)
            ):
                continue
            message: Any = kind()
            message.header.stamp = to_stamp(stamp_ns)
            if kind is Image:
                fill_message(message, np.full((4, 6, 3), index, np.uint8))
            if kind is EefCommand:
                message.observation_stamp = message.header.stamp
            bag.write(
                Topic(name, type_name, message_definition(type_name)),
                serialize_message(message),
                stamp_ns,
            )
    return bag.finish()


def make_player(bag: Path) -> BagPlayer:
    values = {"bag": str(bag), "camera": "front", "rate": 2.0}
    return BagPlayer(
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
    )


def test_everything_is_played_on_the_bags_clock_and_nothing_is_commanded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rclpy.init()
    player = make_player(write_bag(tmp_path))
    probe = rclpy.create_node("probe")
    heard: dict[type, list[Any]] = {Image: [], ArmState: [], EpisodeEvent: [], Clock: []}
    probe.create_subscription(
        Image, "camera/front/image_raw", heard[Image].append, qos.IMAGES
    )
    probe.create_subscription(ArmState, "arm/state", heard[ArmState].append, qos.STATE)
    probe.create_subscription(
        EpisodeEvent, "episode/event", heard[EpisodeEvent].append, qos.EVENTS
    )
    probe.create_subscription(Clock, "/clock", heard[Clock].append, qos.CLOCK)
    answers = probe.create_publisher(EefCommand, "replay/command", qos.COMMANDS)
    executor = SingleThreadedExecutor()
    executor.add_node(player)
    executor.add_node(probe)
    deadline = time.monotonic() + 30.0
    with contextlib.suppress(ExternalShutdownException):
        while rclpy.ok():  # the player ends by itself
            assert time.monotonic() < deadline
            assert player.count_publishers("arm/command") == 0
            if heard[Image] and answers.get_subscription_count():
                answers.publish(
                    EefCommand(
                        action=[0.5] * 7, observation_stamp=heard[Image][-1].header.stamp
                    )
                )
            executor.spin_once(timeout_sec=0.05)
    assert len(heard[ArmState]) == 15
    assert len(heard[EpisodeEvent]) == 1
    assert [image.data[0] for image in heard[Image]] == sorted(
        {image.data[0] for image in heard[Image]}
    )
    times = [to_ns(message.clock) for message in heard[Clock]]
    assert times == sorted(times)
    assert BEGIN < times[-1] <= BEGIN + SECOND // 2
    player.destroy_node()
    probe.destroy_node()
    assert "3 commands recorded" in capfd.readouterr().err


def test_bag_without_images_is_refused_and_its_topics_are_listed(tmp_path: Path) -> None:
    rclpy.init()
    try:
        with pytest.raises(
            PtrError, match=r"no topics camera/front/image_raw.*it has: .*/left/arm/state"
        ):
            make_player(write_bag(tmp_path, set(KINDS) - {"/left/camera/front/image_raw"}))
        with pytest.raises(PtrError, match="nowhere"):
            make_player(tmp_path / "nowhere")
    finally:
        rclpy.shutdown()
