"""The whole loop once, small: record over ROS, export, train, bundle, roll out, read the bag."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader

from ptr_policy_node.policy import load_bundle
from ptr_training.data.store import EpisodeStore
from widowx_bringup.evaluation.results import read_results

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

CAMERA = ("width:=160", "height:=120", "camera_rate:=10.0")
ENVIRONMENT = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def ptr(folder: Path, *words: str) -> str:
    """Run a `ptr` command in a folder; return what it printed."""
    command = [sys.executable, "-m", "ptr_common.cli", *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_demonstrations_become_a_policy_that_moves_the_arm(tmp_path: Path) -> None:
    preset = str(Path(__file__).parents[1] / "config" / "train" / "demo_ptr.yaml")
    factor = ("--real-time-factor", "2")
    ptr(tmp_path, "record", "--episodes", "2", *factor, "--out", "bags", *CAMERA)
    ptr(tmp_path, "export", "bags", "--out", "target")
    assert len(EpisodeStore.open(tmp_path / "target")) == 2
    small = ("--holdout", "1", "--steps", "2", "--set", "agent.clone_steps=1")
    ptr(
        tmp_path,
        "finetune",
        "--config",
        preset,
        "--target",
        "target",
        "--out",
        "run",
        *small,
    )
    assert "<- chosen" in ptr(tmp_path, "select", "run")
    ptr(tmp_path, "bundle", "run", "--out", "bundle")
    rolled = (
        "--policy",
        "bundle",
        "--rollouts",
        "1",
        "--max-steps",
        "6",
        *factor,
        "camera_rate:=10.0",
        "shadow:=bundle",
    )
    ptr(tmp_path, "evaluate", *rolled, "--out", "evaluation")

    (rollout,) = read_results(tmp_path / "evaluation")
    assert rollout.steps >= 6
    bag = tmp_path / "evaluation" / rollout.bag
    bundle_id = ""
    with AnyReader([bag]) as reader:  # a reader that is not ours
        counts = {
            each.topic.removeprefix("/wx250s/"): each.msgcount
            for each in reader.connections
        }
        for connection, _, data in reader.messages():
            if connection.topic == "/wx250s/policy/state":
                bundle_id = reader.deserialize(data, connection.msgtype).bundle_id
    assert (
        counts["arm/executed"] >= rollout.steps
    )  # one more where it came between the verdict and the end
    assert counts["camera/over_shoulder/image_raw"] > rollout.steps
    assert bundle_id == load_bundle(tmp_path / "bundle").bundle_id
    assert counts["shadow/policy/state"] > 0
    ptr(tmp_path, "replay", str(bag), "--bundle", "bundle", "--out", "replayed")
    (replayed,) = json.loads((tmp_path / "replayed/replay.json").read_text())["episodes"]
    assert replayed["compared"] == replayed["steps"] >= rollout.steps
    assert max(replayed["action_difference"].values()) <= 1e-5
    assert replayed["q_difference"] <= 1e-5
    assert (
        json.loads((tmp_path / "evaluation" / "results.json").read_text())["methods"][0][
            "rollouts"
        ]
        == 1
    )
