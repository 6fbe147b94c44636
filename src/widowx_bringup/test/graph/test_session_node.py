"""Whole episodes over the ROS graph: scene, teleoperation, verdict, bag; and failures."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ptr_training.bags.reader import Bag
from widowx_bringup.evaluation import record
from widowx_bringup.graph.processes import NodeDiedError
from widowx_bringup.graph.session import open_session
from widowx_bringup.sim.tasks import TARGET_TASK, TaskError

SMALL = {"width": "64", "height": "48", "camera_rate": "10", "real_time_factor": "3"}


def test_record_makes_one_complete_bag_per_success(tmp_path: Path) -> None:
    values = [f"{name}:={value}" for name, value in SMALL.items()]
    assert (
        record.main(
            ["--episodes", "1", "--seed", "5", "--out", str(tmp_path / "bags"), *values]
        )
        == 0
    )
    bags = [path for path in (tmp_path / "bags").iterdir() if path.name != "log"]
    assert len(bags) == 1
    assert not [path for path in bags if path.name.startswith(".")]
    for path in bags:
        custom = yaml.safe_load((path / "metadata.yaml").read_text())[
            "rosbag2_bagfile_information"
        ]["custom_data"]
        assert custom["outcome"] == "success"
        assert custom["task"] == TARGET_TASK
        with Bag(path) as bag:
            counts = {
                topic.removeprefix("/wx250s/"): count for topic, count in bag.counts.items()
            }
            states = [
                bag.decode("ptr_msgs/msg/ArmState", data)
                for _, _, data in bag.messages(["/wx250s/arm/state"])
            ]
        # on a busy computer a command may come late; then the arm refuses it and counts it
        assert (
            counts["arm/command"] - counts["arm/executed"]
            == states[-1].rejected - states[0].rejected
        )
        assert counts["arm/executed"] > 10
        assert counts["camera/over_shoulder/image_raw"] > counts["arm/command"]
        assert counts["episode/event"] == 2


def test_failure_is_a_result_and_a_dead_node_an_error(tmp_path: Path) -> None:
    given = {**SMALL, "bag_directory": str(tmp_path / "bags")}
    with open_session("record", given, tmp_path / "log") as runner:
        result = runner.run_episode(TARGET_TASK, seed=1, max_steps=3)
        assert not result.success
        assert result.reason == "not solved within 3 steps"
        assert result.bag is not None
        assert result.bag.is_dir()
        for running in runner.graph._processes._running:
            if running.spec.executable == "camera_node":
                os.kill(running.process.pid, signal.SIGKILL)
        with pytest.raises(NodeDiedError, match=r"camera_node ended \(killed by SIGKILL\)"):
            runner.run_episode(TARGET_TASK, seed=2, max_steps=50)


def test_unknown_task_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="unknown task 'fold the towel'"):
        record.main(["--task", "fold the towel", "--out", str(tmp_path / "bags")])
    assert not (tmp_path / "bags").exists()
