"""Moves the arm in front of a camera, and records images and arm states meanwhile.

The arm goes to its start pose and makes small moves at irregular times, as an episode, so that
all watchdogs are on; the episode is discarded.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from rcl_interfaces.srv import GetParameters
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, CONTROL_RATE
from ptr_common.images import RawImage, resize_area
from ptr_common.node import Executor, now_ns, subscribe, to_ns, to_stamp
from ptr_common.progress import progress
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    image_topic,
    robot_frame,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_policy_node.observation import StepSchedule
from widowx_bringup.camera.calibrations import CalibrationError
from widowx_bringup.camera.latency import Recording, motion

IMAGE_SIZE = (60, 80)
"""Height and width of the recorded images [pixels].

Between two images the arm moves by a fraction of such a pixel, and the image changes in
proportion.
"""

START_LIMIT = 60.0
"""Longest time until the graph has published images and arm states [s]."""

MOVE_LIMIT = 60.0
"""Longest time of the arm's move to its start pose [s]."""

PAUSE_LIMIT = 8.0
"""Longest real time without a new image or arm state [s]. A simulation waits for its nodes, by
default 2 s for each that is late; the arm's own guard watches a real one."""

STILL = 0.05
"""Joint speed below which the arm is still: twice the resolution of a servo [rad/s]."""

SETTLED_NS = 300_000_000
"""Time for which the arm has to be still before the first move [ns]."""

SOURCES = ("source", "video_device", "serial_no")
"""Parameters by which camera drivers name their device."""

NO_GRAPH = (
    "; is a graph running (`ptr up record teleop:=none`) on this ROS domain and clock?"
)
"""What to do if arm or camera do not publish."""


class Calibrator(Node):
    """Moves the arm in front of a camera, and records images and arm states meanwhile.

    Args:
        camera: Name of the camera.
        watch: Called while it waits; raises an error that ends the calibration.
        options: Passed on to `rclpy.node.Node`.
    """

    def __init__(
        self, camera: str, watch: Callable[[], object] = lambda: None, **options: Any
    ) -> None:
        super().__init__("calibration", **options)
        self._watch = watch
        self._images: list[tuple[int, np.ndarray]] = []
        self._states: list[tuple[int, np.ndarray]] = []
        self._state: ArmState | None = None
        self._received = 0.0  # monotonic time at which the latest arm state arrived [s]
        self._still_ns = 0  # stamp since which the arm is still; 0: it moves
        self._image_ns = 0  # stamp of the latest image
        self._due_ns = 0  # stamp of the image that the next command answers; 0: none is due
        self._episode = ""
        self._schedule = StepSchedule(CONTROL_RATE)
        self._image_topic = self.resolve_topic_name(image_topic(camera))
        self._events = self.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._go_to_start = self.create_client(Trigger, "arm/go_to_start")
        subscribe(self, ArmState, TOPIC_ARM_STATE, self._on_state, qos.STATE)
        subscribe(
            self,
            Image,
            self._image_topic,
            self._on_image,
            qos.IMAGES,
            decode=RawImage.from_cdr,
        )
        self._spinner = Executor(context=self.context)
        self._spinner.add_node(self)

    def destroy_node(self) -> None:
        """Discard a running episode and leave the graph."""
        self._end()
        self._spinner.shutdown()
        super().destroy_node()

    def record(self) -> Recording:
        """Move the arm and return images and arm states.

        Raises:
            CalibrationError: If arm or camera stop publishing, the arm holds, or another node
                commands it.
        """
        self._join()
        self._stand_at_start()
        assert self._state is not None
        actions = motion(float(np.clip(self._state.proprio[6], 0.0, 1.0)))
        self._begin()
        no_image = f"no new image on {self._image_topic}"
        for action in progress(actions, desc="calibrate", unit="step"):
            self._wait(lambda: self._due_ns, PAUSE_LIMIT, no_image)
            self._send(action)
        self._end()
        return Recording(*_columns(self._images), *_columns(self._states))

    def device(self) -> str:
        """Return the device that the camera's driver names; empty if it names none."""
        for publisher in self.get_publishers_info_by_topic(self._image_topic):
            driver = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
            for name in SOURCES:
                if device := self._parameter_of(driver, name):
                    return device
        return ""

    def _parameter_of(self, node: str, name: str) -> str:
        """Return a parameter of another node as text; empty if it does not answer in time."""
        client = self.create_client(GetParameters, f"{node}/get_parameters")
        with contextlib.suppress(CalibrationError):
            self._wait(client.service_is_ready, 1.0, "")
            future = client.call_async(GetParameters.Request(names=[name]))
            self._wait(future.done, 1.0, "")
            values = [parameter_value_to_python(value) for value in future.result().values]
            return str(values[0]) if values and values[0] is not None else ""
        return ""

    # --- the arm ---

    def _join(self) -> None:
        """Wait for arm and camera, then become the only node that commands the arm.

        Raises:
            CalibrationError: If arm or camera do not publish, or another node commands the arm.
        """
        topics = f"{self.resolve_topic_name(TOPIC_ARM_STATE)} and {self._image_topic}"
        print(
            f"waiting for {topics}, {START_LIMIT:g} s at most; without a graph start one in "
            "another terminal: `ptr up record teleop:=none use_sim:=false`",
            flush=True,
        )
        no_state = f"no arm state on {TOPIC_ARM_STATE}"
        self._wait(lambda: self._state, START_LIMIT, no_state, NO_GRAPH)
        no_image = f"no image on {self._image_topic}"
        self._wait(lambda: self._image_ns, START_LIMIT, no_image, NO_GRAPH)
        if senders := self._senders():
            raise CalibrationError(
                f"{', '.join(senders)} commands the arm; "
                "end it first, and start the graph with teleop:=none"
            )
        self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
        self._wait(self._is_heard, START_LIMIT, "the arm does not subscribe to commands")

    def _senders(self) -> list[str]:
        """Return the names of the nodes that command the arm."""
        topic = self.resolve_topic_name(TOPIC_COMMAND)
        names = []
        for publisher in self.get_publishers_info_by_topic(topic):
            names.append(f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}")
        return names

    def _is_heard(self) -> bool:
        """Return whether the arm subscribes to events and commands."""
        counts = (
            self._events.get_subscription_count(),
            self._commands.get_subscription_count(),
        )
        return all(counts)

    def _stand_at_start(self) -> None:
        """Move the arm to its start pose, and wait until it is still.

        Raises:
            CalibrationError: If the arm refuses, or does not come to rest in time.
        """
        self._wait(
            self._go_to_start.service_is_ready,
            START_LIMIT,
            "the arm does not offer arm/go_to_start",
        )
        future = self._go_to_start.call_async(Trigger.Request())
        self._wait(future.done, PAUSE_LIMIT, "no answer from arm/go_to_start")
        if not future.result().success:
            raise CalibrationError(
                f"the arm does not go to its start pose: {future.result().message}"
            )
        asked_ns = now_ns(self)

        def is_still() -> bool:
            """Return whether the arm has been still for long enough since it was asked."""
            assert self._state is not None
            since = max(asked_ns, self._still_ns)
            return (
                self._still_ns > 0 and to_ns(self._state.header.stamp) > since + SETTLED_NS
            )

        self._wait(is_still, MOVE_LIMIT, "the arm does not come to rest at its start pose")

    def _begin(self) -> None:
        """Start an episode; images and arm states are recorded from now on."""
        self._images, self._states = [], []
        self._episode = str(uuid.uuid4())
        self._schedule.restart()
        self._due_ns = 0
        self._publish(EpisodeEvent.START)

    def _end(self) -> None:
        """Discard the episode, if one is running."""
        if self._episode:
            self._publish(EpisodeEvent.DISCARD)
            self._episode = ""
            self._events.wait_for_all_acked(Duration(seconds=1))

    def _publish(self, event: int) -> None:
        message = EpisodeEvent(
            episode_id=self._episode,
            event=event,
            task="calibrate camera",
            text="calibration",
        )
        message.header.stamp = to_stamp(now_ns(self))
        self._events.publish(message)

    def _send(self, action: np.ndarray) -> None:
        """Publish an action, shape (7,), as the answer to the image that is due."""
        command = EefCommand(
            action=action,
            source=EefCommand.SOURCE_SCRIPT,
            observation_stamp=to_stamp(self._due_ns),
        )
        command.header.stamp = to_stamp(now_ns(self))
        command.header.frame_id = robot_frame(self.get_namespace(), BASE_FRAME)
        self._due_ns = 0
        self._commands.publish(command)

    # --- subscriptions ---

    def _on_state(self, state: ArmState) -> None:
        self._state, self._received = state, time.monotonic()
        stamp_ns = to_ns(state.header.stamp)
        moves = bool(state.reason) or np.abs(state.joint_velocities).max() > STILL
        self._still_ns = 0 if moves else self._still_ns or stamp_ns
        # The arm node may publish one measurement twice; its stamp says that it is the same.
        repeated = bool(self._states) and self._states[-1][0] == stamp_ns
        if self._episode and not repeated:
            self._states.append((stamp_ns, np.asarray(state.joint_positions)))

    def _on_image(self, image: RawImage) -> None:
        self._image_ns = image.stamp_ns
        if not self._episode:
            return
        small = resize_area(image.rgb(), IMAGE_SIZE)
        self._images.append((image.stamp_ns, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)))
        if self._schedule.take(image.stamp_ns):
            self._due_ns = image.stamp_ns

    def _wait(
        self, condition: Callable[[], object], limit: float, problem: str, hint: str = ""
    ) -> None:
        """Process messages until a condition holds.

        Raises:
            CalibrationError: If it does not hold within the limit [s], with problem and hint.
        """
        deadline = time.monotonic() + limit
        while not condition():
            self._watch()
            if self._episode:
                self._check_arm()
            if time.monotonic() > deadline:
                raise CalibrationError(f"{problem} for {limit:g} s{hint}")
            self._spinner.spin_once(timeout_sec=0.05)

    def _check_arm(self) -> None:
        """Raise CalibrationError if the arm holds, or has stopped publishing its state."""
        assert self._state is not None
        if self._state.status != ArmState.STATUS_OK:
            raise CalibrationError(f"the arm holds: {self._state.reason}")
        if time.monotonic() - self._received > PAUSE_LIMIT:
            raise CalibrationError(f"no arm state for {PAUSE_LIMIT:g} s")


def _columns(rows: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps (n,) and values (n, …); both empty without rows."""
    stamps = [stamp for stamp, _ in rows]
    values = [value for _, value in rows]
    return np.array(stamps, np.int64), np.array(values)
