"""`ptr calibrate camera`: by how much a camera's stamps are late, measured by moving the arm in front of it.

    ptr calibrate camera                                        # beside a running graph of the real arm
    ptr calibrate camera --simulated camera_delay:=3            # a trial: the simulated arm, its pictures 3 frames late

The arm goes to its start pose and makes small moves at irregular times, as an episode, so that all watchdogs are on;
the episode is discarded. `latency.py` has the arithmetic.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tqdm import tqdm

from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_policy_node import qos
from ptr_policy_node.files import atomic_file
from ptr_policy_node.images import RawImage, resize_area
from ptr_policy_node.node import now_ns, to_ns, to_stamp
from ptr_policy_node.observation import StepSchedule
from ptr_policy_node.spec import (
    BASE_FRAME,
    CONTROL_RATE,
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    image_topic,
)

from . import latency
from .calibrations import CalibrationError, CameraCalibration, calibration_file, write_calibration
from .graph import environment, find_graph
from .processes import Processes
from .session import free_domain
from .up import parse_values

PICTURE_SIZE = (60, 80)
"""Height and width of the pictures kept [pixels]: a move of the arm is a fraction of a pixel in each interval, and the
change of the picture so in proportion to it."""

START_LIMIT = 60.0
"""Longest time the graph may take to show pictures and arm states [s]."""

WAY_LIMIT = 60.0
"""Longest time the arm may take to its start pose [s]."""

PAUSE_LIMIT = 3.0
"""Longest real time without a new picture or arm state [s]."""

STILL = 0.01
"""Below this every joint stands [rad/s]."""

SETTLED_NS = 300_000_000
"""The arm has to stand for so long before the first move [ns]."""

SOURCES = ("source", "video_device", "serial_no")
"""Parameters by which camera drivers say what they read."""


class Calibrator(Node):
    """A person's part in the calibration of one camera: moves the arm, and keeps pictures and arm states meanwhile.

    Args:
        camera: Name of the camera.
        watch: Called while it waits; raises if waiting has become pointless.
        options: Passed on to `rclpy.node.Node`.
    """

    def __init__(self, camera: str, watch: Callable[[], object] = lambda: None, **options: Any) -> None:
        super().__init__("calibration", **options)
        self._watch = watch
        self._pictures: list[tuple[int, np.ndarray]] = []
        self._states: list[tuple[int, np.ndarray]] = []
        self._state: ArmState | None = None
        self._answered_ns = 0  # stamp of the picture that the next command answers; 0: none is due
        self._episode = ""
        self._schedule = StepSchedule(CONTROL_RATE)
        self._image_topic = self.resolve_topic_name(image_topic(camera))
        self._events = self.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._go_to_start = self.create_client(Trigger, "arm/go_to_start")
        self.create_subscription(ArmState, TOPIC_ARM_STATE, self._on_state, qos.STATE)
        self.create_subscription(Image, self._image_topic, self._on_picture, qos.IMAGES, raw=True)
        self._spinner = SingleThreadedExecutor(context=self.context)
        self._spinner.add_node(self)

    def destroy_node(self) -> None:
        """Discard a running episode and leave the graph."""
        self._end()
        self._spinner.shutdown()
        super().destroy_node()

    def record(self) -> latency.Recording:
        """Move the arm and return what was seen meanwhile.

        Raises:
            CalibrationError: If arm or camera are silent, the arm holds, or somebody else commands it.
        """
        self._join()
        self._rest_at_start()
        assert self._state is not None
        actions = latency.motion(float(np.clip(self._state.proprio[6], 0.0, 1.0)))
        self._begin()
        for action in tqdm(actions, desc="calibrate", unit="step"):
            self._wait(lambda: self._answered_ns, PAUSE_LIMIT, f"no new picture on {self._image_topic}")
            self._send(action)
        self._end()
        (picture_ns, pictures), (state_ns, joints) = (zip(*rows, strict=True) for rows in (self._pictures, self._states))
        return latency.Recording(np.array(picture_ns), np.array(pictures), np.array(state_ns), np.array(joints))

    # --- the arm --------------------------------------------------------------------------------------------

    def _join(self) -> None:
        """Wait for arm and camera, and make sure that nobody else commands the arm."""
        hint = "is a graph running (`ptr up record teleop:=none`)?"
        self._wait(lambda: self._state, START_LIMIT, f"no arm state; {hint} None")
        self._wait(lambda: self._schedule.seen, START_LIMIT, f"no picture on {self._image_topic}; {hint} None")

    def _rest_at_start(self) -> None:
        self._wait(self._go_to_start.service_is_ready, PAUSE_LIMIT, "arm/go_to_start is not there")

    def _begin(self) -> None: ...

    def _send(self, action: np.ndarray) -> None: ...

    def _end(self) -> None: ...
