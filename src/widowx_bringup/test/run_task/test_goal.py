"""Which goals of `run_task` are malformed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("ptr_msgs", reason="ROS 2 is not installed")

from ptr_msgs.action import RunTask
from widowx_bringup.run_task.goal import GoalError, TaskGoal, check_goal, check_reachable

POSE = [0.3, 0.0, 0.15, 0.0, 0.0, 0.1]


def checked(*, simulated: bool = True, **fields: Any) -> TaskGoal:
    goal = RunTask.Goal(**{"task": "stir", "time_limit": 10.0, **fields})
    return check_goal(goal, 60.0, simulated=simulated)


def test_a_goal_needs_no_more_than_task_and_time_limit() -> None:
    assert checked() == TaskGoal("stir", 10.0, None, "", None)


def test_everything_else_is_taken_as_it_is() -> None:
    goal = checked(task="  stir  it ", start_pose=POSE, episode_id="a-1", scene_seed=0)
    assert goal == TaskGoal("stir it", 10.0, tuple(POSE), "a-1", 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": ""}, "task is empty"),
        ({"task": " \u200b"}, "task is empty"),
        (
            {"time_limit": 0.0},
            "time_limit is 0 s; allowed are more than 0 and at most 60 s",
        ),
        ({"time_limit": -1.0}, "time_limit is -1 s"),
        ({"time_limit": 60.001}, "time_limit is 60.001 s"),
        ({"time_limit": float("nan")}, "time_limit is nan s"),
        ({"time_limit": float("inf")}, "time_limit is inf s"),
        ({"start_pose": POSE[:3]}, r"start_pose has shape \(3,\).*leave it empty"),
        ({"start_pose": [*POSE[:5], float("nan")]}, "start_pose is not finite"),
        ({"episode_id": "../x"}, "episode_id: '../x' cannot name a bag"),
        ({"scene_seed": -2}, "scene_seed is -2"),
    ],
)
def test_a_malformed_goal_is_refused_by_what_is_wrong(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(GoalError, match=message):
        checked(**fields)


def test_the_scenes_of_a_real_arm_are_drawn_by_nothing() -> None:
    with pytest.raises(GoalError, match="scene_seed is 3, but nothing draws the scenes"):
        checked(scene_seed=3, simulated=False)


def test_a_start_pose_must_be_within_the_joint_limits() -> None:
    joints = np.array([0.0, -0.5, 0.5, 0.0, 1.3, 0.0])
    check_reachable(tuple(POSE), joints)
    with pytest.raises(GoalError, match=r"start_pose \[0.6, .*no joints within the limits"):
        check_reachable((0.6, 0.2, 0.33, 0.0, 0.0, 0.0), joints)
