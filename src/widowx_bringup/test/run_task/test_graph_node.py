"""Goals of `run_task` on the whole simulated graph: to a bag, cancelled, and a node killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from action_msgs.msg import GoalStatus  # noqa: E402
from graph_nodes import BUNDLE, nodes_of  # noqa: E402
from probe_rig import ProbeRig  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_msgs.action import RunTask  # noqa: E402
from ptr_msgs.msg import ArmState  # noqa: E402
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes  # noqa: E402
from widowx_bringup.graph.processes import Processes  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK  # noqa: E402


class Client(ProbeRig):
    """A client of the action, and the states of the arm."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("client")
        self.probe = rclpy.create_node("watcher", namespace="wx250s")
        self.states: list[ArmState] = []
        self.feedback: list[RunTask.Feedback] = []
        self.probe.create_subscription(ArmState, "arm/state", self.states.append, qos.STATE)
        self.add_nodes()
        self.client = ActionClient(self.node, RunTask, "/wx250s/run_task")
        self.until(self.client.server_is_ready, 60.0)

    def send(self, **fields: Any) -> Any:
        """Send a goal and return the future of its result, and its handle."""
        self.feedback.clear()
        future = self.client.send_goal_async(
            RunTask.Goal(task=TARGET_TASK, **fields),
            lambda message: self.feedback.append(message.feedback),
        )
        self.until(future.done)
        assert future.result().accepted
        return future.result().get_result_async(), future.result()

    def until_running(self) -> None:
        """Wait until the policy acts."""
        self.until(lambda: self.feedback and self.feedback[-1].step > 2, 60.0)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    specs = nodes_of(
        "eval",
        policy=str(BUNDLE),
        real_time_factor="3",
        camera_rate="10",
        bag_directory=str(tmp_path / "bags"),
    )
    with Processes(specs, tmp_path / "log", {}) as processes:
        yield processes


def test_goals_end_in_a_bag_by_a_cancel_and_when_a_node_dies(
    ros: None, processes: Processes, tmp_path: Path
) -> None:
    client = Client()
    try:
        future, _ = client.send(time_limit=2.0, scene_seed=3, episode_id="whole")
        client.until(future.done, 60.0)
        _check_bag(future.result().result, tmp_path / "bags" / "whole")

        future, handle = client.send(time_limit=60.0, scene_seed=4)
        client.until_running()
        handle.cancel_goal_async()
        client.until(future.done, 60.0)
        assert future.result().status == GoalStatus.STATUS_CANCELED
        client.until(lambda: client.states[-1].status == ArmState.STATUS_HOLDING)

        future, _ = client.send(time_limit=60.0, scene_seed=5)
        client.until_running()  # the scene ends the hold
        for running in processes._running:
            if running.spec.executable == "camera_node":
                os.kill(running.process.pid, signal.SIGKILL)
        client.until(future.done, 60.0)
        result = future.result().result
        assert future.result().status == GoalStatus.STATUS_ABORTED
        assert (result.outcome, result.termination) == ("stopped", "held")
        assert result.hold_kind in ("camera", "silence")
        assert Path(result.bag).is_dir()
    finally:
        client.close()


def _check_bag(result: RunTask.Result, bag: Path) -> None:
    """Check the result of a goal that had its time, and what its bag says of it."""
    assert (result.outcome, result.termination) == ("failure", "time limit")
    assert result.steps > 2
    assert result.bag == str(bag)
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    custom = metadata["rosbag2_bagfile_information"]["custom_data"]
    assert custom["outcome"] == "failure"
    read = read_episodes(bag, ReadOptions(image_size=8))
    assert read.audit["episodes"][0]["goal_id"] == custom["goal_id"]
    assert read.episodes[0].seed == 3
    assert custom["text"] == f"seed 3, goal {custom['goal_id']}"
