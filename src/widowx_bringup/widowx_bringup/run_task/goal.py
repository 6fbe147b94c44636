"""Goals of the action `run_task`: which are malformed, and what one asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ptr_common.action_space import pose_from_proprio
from ptr_common.errors import PtrError
from ptr_common.names import clean_task
from widowx_bringup.arm.refusal import Refusal, check_vector
from widowx_bringup.recording.bag_writer import bag_name_problem

if TYPE_CHECKING:
    from ptr_msgs.action import RunTask

SCENE_AS_IT_IS = -1
"""Value of `scene_seed` with which no scene is drawn."""


class GoalError(PtrError):
    """A goal is malformed; it is rejected."""


@dataclass(frozen=True)
class TaskGoal:
    """What a goal asks for, checked.

    Attributes:
        task: Name of the task, not empty.
        time_limit: Longest episode [s].
        start_pose: Pose of the end effector at the start: x, y, z [m], roll, pitch, yaw
            [rad]; None: that of the scene, else the arm's own.
        episode_id: Name of the episode and its bag; empty: the UUID of the goal.
        seed: Seed of the scene; None: the scene stays as it is.
    """

    task: str
    time_limit: float
    start_pose: tuple[float, ...] | None
    episode_id: str
    seed: int | None


def check_goal(goal: RunTask.Goal, longest: float, *, simulated: bool) -> TaskGoal:
    """Return what a goal asks for.

    Args:
        goal: As it was sent.
        longest: Longest time limit that is allowed [s].
        simulated: Whether the graph has a simulation, which draws scenes.

    Raises:
        GoalError: If the goal is malformed.
    """
    task = clean_task(goal.task)
    if not task:
        raise GoalError("task is empty; name the task as the policy knows it")
    if not (math.isfinite(goal.time_limit) and 0.0 < goal.time_limit <= longest):
        raise GoalError(
            f"time_limit is {goal.time_limit:g} s; allowed are more than 0 and at most "
            f"{longest:g} s (parameter longest_time_limit)"
        )
    if goal.episode_id and (problem := bag_name_problem(goal.episode_id)):
        raise GoalError(f"episode_id: {problem}")
    return TaskGoal(
        task=task,
        time_limit=goal.time_limit,
        start_pose=_check_pose(goal.start_pose),
        episode_id=goal.episode_id,
        seed=_check_seed(goal.scene_seed, simulated=simulated),
    )


def _check_pose(numbers: object) -> tuple[float, ...] | None:
    """Return a start pose of six finite numbers; None for an empty one.

    Raises:
        GoalError: If it is anything else.
    """
    pose = np.asarray(numbers, dtype=float)
    if pose.size == 0:
        return None
    checked = check_vector("start_pose", pose, (6,))
    if isinstance(checked, Refusal):
        raise GoalError(f"{checked.text}; or leave it empty for the arm's start pose")
    return tuple(checked.tolist())


def check_reachable(pose: tuple[float, ...], joints: np.ndarray) -> None:
    """Refuse a start pose that no joints within the limits reach.

    Args:
        pose: As `TaskGoal.start_pose`.
        joints: Joints measured, (6,) [rad].

    Raises:
        GoalError: If there are none.
    """
    from widowx_bringup.arm.kinematics import Kinematics

    solution = Kinematics().inverse(pose_from_proprio(np.asarray(pose)), joints)
    if isinstance(solution, Refusal):
        raise GoalError(f"start_pose {list(pose)}: {solution.text}")


def _check_seed(seed: int, *, simulated: bool) -> int | None:
    """Return the seed of a scene; None if the scene stays as it is.

    Raises:
        GoalError: If the seed is impossible, or nothing draws scenes.
    """
    if seed == SCENE_AS_IT_IS:
        return None
    if seed < 0:
        raise GoalError(
            f"scene_seed is {seed}; allowed are 0 and more, or -1 for no new scene"
        )
    if not simulated:
        raise GoalError(
            f"scene_seed is {seed}, but nothing draws the scenes of a real arm; leave it at -1"
        )
    return seed
