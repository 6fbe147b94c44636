"""What every part of the system agrees on: action, proprioception, rate, topic names, errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
"""The seven action dimensions [m, m, m, rad, rad, rad, 0 closed .. 1 open].

Base-frame axes; the rotation is about the end effector, as in BridgeData.
"""

ACTION_LOW = np.array([-0.05, -0.05, -0.05, -0.25, -0.25, -0.25, 0.0])
ACTION_HIGH = np.array([0.05, 0.05, 0.05, 0.25, 0.25, 0.25, 1.0])
ACTION_LOW.flags.writeable = ACTION_HIGH.flags.writeable = False

PROPRIO_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
"""Measured end-effector pose in the base frame [m, rad]; roll = pitch = yaw = 0 is straight down."""

JOINT_NAMES = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")

CONTROL_RATE = 5.0
"""Control rate [Hz]."""

MAX_CAMERA_LATENCY = 1.0
"""Largest latency of a camera that is believed [s]."""

BASE_FRAME = "base_link"

TOPIC_COMMAND = "arm/command"
TOPIC_EXECUTED = "arm/executed"
TOPIC_ARM_STATE = "arm/state"
TOPIC_JOINT_STATES = "joint_states"
TOPIC_POLICY_STATE = "policy/state"
TOPIC_EPISODE_EVENT = "episode/event"
TOPIC_DIAGNOSTICS = "/diagnostics"


def image_topic(camera: str) -> str:
    """Return the relative topic of a camera's images."""
    return f"camera/{camera}/image_raw"


def camera_info_topic(camera: str) -> str:
    """Return the relative topic of a camera's calibration."""
    return f"camera/{camera}/camera_info"


class PtrError(Exception):
    """Base of every error meant for the user.

    The message names the value found, the values allowed and where to change it;
    the `ptr` command prints it without a traceback.
    """


class CameraLatencyError(PtrError, ValueError):
    """A latency that no camera has."""


def camera_latency(value: object) -> float:
    """Return the latency of a camera [s]: by how much a picture's stamp is later than the moment the picture shows.

    `ptr calibrate camera` measures it. Messages keep the stamps their driver gave them; who reads them subtracts it.

    Args:
        value: A number, or text that is one.

    Raises:
        CameraLatencyError: If it is not a number from 0 to `MAX_CAMERA_LATENCY`.
    """
    try:
        latency = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        latency = float("nan")
    if not 0.0 <= latency <= MAX_CAMERA_LATENCY:
        raise CameraLatencyError(f"camera_latency is {value!r}; allowed are 0 to {MAX_CAMERA_LATENCY:g} s")
    return latency


def recorded_latency(custom: Mapping[str, str], camera: str) -> float:
    """Return the latency [s] that a bag says a camera had; 0 where it says nothing of it.

    Args:
        custom: The bag's custom data. `camera_latency` has a number for each name in `cameras`; where those are
            missing it is that of `camera`.
        camera: Name of the camera.

    Raises:
        CameraLatencyError: If what it says is impossible.
    """
    names = custom.get("cameras") or custom.get("camera") or camera
    latencies = dict(zip(names.split(","), custom.get("camera_latency", "").split(","), strict=False))
    return camera_latency(latencies.get(camera) or 0.0)
