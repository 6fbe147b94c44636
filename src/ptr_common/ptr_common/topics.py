"""Names of the ROS topics, relative to the robot's namespace."""

from __future__ import annotations

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
