"""Names of the ROS topics, relative to the robot's namespace, and of the robot's frames.

With the events of an episode, in numbers and words, also for readers of bags without ROS, and the
text of its START, from which recorder and exporter read seed and goal.
"""

from __future__ import annotations

import re

TOPIC_COMMAND = "arm/command"
TOPIC_EXECUTED = "arm/executed"
TOPIC_ARM_STATE = "arm/state"
TOPIC_JOINT_STATES = "joint_states"
TOPIC_POLICY_STATE = "policy/state"
TOPIC_SHADOW_STATE = "shadow/policy/state"
TOPIC_EPISODE_EVENT = "episode/event"
TOPIC_DIAGNOSTICS = "/diagnostics"
TOPIC_STATIC_TRANSFORMS = "/tf_static"
ACTION_RUN_TASK = "run_task"

START, SUCCESS, FAILURE, DISCARD, STOP = 1, 2, 3, 4, 5
"""Values of `ptr_msgs/msg/EpisodeEvent.event`."""

END_WORDS = {SUCCESS: "success", FAILURE: "failure", DISCARD: "discarded", STOP: "stopped"}
"""What an event that ends an episode says."""

_SEED = re.compile(r"\bseed[ =](\d+)")
_GOAL = re.compile(r"\bgoal ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")


def start_text(seed: int | None, goal: str = "") -> str:
    """Return the text of a START event.

    Args:
        seed: Seed of the simulated scene; None if it is not known.
        goal: UUID of the goal of the action `run_task` that begins the episode.
    """
    parts = [f"seed {seed}"] if seed is not None else []
    return ", ".join([*parts, f"goal {goal}"] if goal else parts)


def seed_of(text: str) -> int | None:
    """Return the seed in the text of a START event; None if it names none."""
    found = _SEED.search(text)
    return int(found[1]) if found else None


def goal_of(text: str) -> str:
    """Return the goal's UUID in the text of a START event; empty if it names none."""
    found = _GOAL.search(text)
    return found[1] if found else ""


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
