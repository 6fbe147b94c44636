"""Names of the ROS topics, relative to the robot's namespace, and of the robot's frames."""

from __future__ import annotations

TOPIC_COMMAND = "arm/command"
TOPIC_EXECUTED = "arm/executed"
TOPIC_ARM_STATE = "arm/state"
TOPIC_JOINT_STATES = "joint_states"
TOPIC_POLICY_STATE = "policy/state"
TOPIC_SHADOW_STATE = "shadow/policy/state"
TOPIC_EPISODE_EVENT = "episode/event"
TOPIC_DIAGNOSTICS = "/diagnostics"
TOPIC_STATIC_TRANSFORMS = "/tf_static"


def image_topic(camera: str) -> str:
    """Return the relative topic of a camera's images."""
    return f"camera/{camera}/image_raw"


def camera_info_topic(camera: str) -> str:
    """Return the relative topic of a camera's calibration."""
    return f"camera/{camera}/camera_info"


def robot_frame(robot_name: str, link: str) -> str:
    """Return the frame of a link as Interbotix's URDF names it: with the robot's name before it.

    Args:
        robot_name: Namespace of the robot; slashes around it do not count.
        link: Name of the link, for instance "base_link".
    """
    return "/".join(filter(None, [robot_name.strip("/"), link]))
