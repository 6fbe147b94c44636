"""Bags of the simulated arm, exported with its commands and with the steps between its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_bags import COMMAND, MS, STATE, Script, header, make, time, write

from ptr_common.action_space import JOINT_NAMES, finger_of, pose_from_proprio, step_target
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes
from ptr_training.bags.errors import BagError
from ptr_training.bags.export import main
from ptr_training.data.episode import Episode
from ptr_training.data.store import EpisodeStore
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.world import World

STEPS = 30
NAMES = [*JOINT_NAMES, "gripper", "left_finger", "right_finger"]


def step(number: int) -> np.ndarray:
    """Return a step of a slow curve that turns and closes the gripper on the way, (7,)."""
    angle = 2 * np.pi * number / STEPS
    motion = [0.02 * np.cos(angle), 0.02 * np.sin(angle), 0.008 * np.sin(2 * angle)]
    turn = [0.0, 0.05 * np.sin(angle), 0.1 * np.cos(angle)]
    return np.array([*motion, *turn, float(number < STEPS // 2)])


def joint_state(stamp: int, joints: np.ndarray, gripper: float) -> Any:
    finger = finger_of(gripper)
    positions = np.array([*joints, 0.3, finger, -finger])
    zeros = np.zeros(len(NAMES))
    kind = "sensor_msgs/msg/JointState"
    return make(kind, header(stamp, ""), NAMES, positions, zeros, zeros)


def arm_state(stamp: int, joints: np.ndarray, proprio: np.ndarray) -> Any:
    pose = make(
        "geometry_msgs/msg/Pose",
        make("geometry_msgs/msg/Point", 0.0, 0.0, 0.0),
        make("geometry_msgs/msg/Quaternion", 0.0, 0.0, 0.0, 1.0),
    )
    return make(STATE, header(stamp), joints, np.zeros(6), pose, proprio, 0, "", 0, 0, 0)


@pytest.fixture
def recording() -> Script:
    """A demonstration of the simulated arm: commands, both kinds of states, and images."""
    world = World(epoch_ns=10**18)
    control = EefController(SimulatedArm(world), Kinematics())
    script = Script("/wx250s")
    for tick in range(STEPS * 20 + 1):  # 10 ms each
        stamp = world.time_ns
        snapshot = control.state()
        joints = joint_state(stamp, snapshot.joints, snapshot.proprio[6])
        script.add("joint_states", stamp, joints)
        if tick % 5 == 0:
            script.add(
                "arm/state", stamp, arm_state(stamp, snapshot.joints, snapshot.proprio)
            )
        if tick % 4 == 0:
            script.image(tick, stamp)
        if tick % 20 == 0 and tick < STEPS * 20:
            action = step(tick // 20)
            message = make(COMMAND, header(stamp), time(0), action, 2)
            script.add("arm/command", stamp, message)
            executed = control.execute(action).executed
            message = make(COMMAND, header(stamp + MS), time(0), executed, 2)
            script.add("arm/executed", stamp + MS, message)
        world.advance(0.01)
    return script


def exported(bag: Path, **options: Any) -> tuple[Episode, dict[str, Any]]:
    read = ReadOptions(image_size=8, task="wave", outcome="success", **options)
    result = read_episodes(bag, read)
    assert len(result.episodes) == 1, result.audit["episodes"]
    return result.episodes[0], result.audit


def without_commands(recording: Script, *left_out: str) -> Script:
    stripped = Script(recording.namespace)
    for message in recording.messages:
        if not message.topic.endswith(("arm/command", "arm/executed", *left_out)):
            stripped.messages.append(message)
    return stripped


def test_steps_between_states_are_what_the_arm_executed(
    tmp_path: Path, recording: Script
) -> None:
    bag = write(tmp_path / "both", recording)
    commanded, _ = exported(bag)
    measured, audit = exported(bag, command="states")
    assert audit["actions"] == "from the next states"
    assert len(measured) == len(commanded) == STEPS
    difference = measured.executed - commanded.executed
    assert np.abs(difference[:, :3]).max() < 0.005  # of 0.02 m: the arm lags when it starts
    assert np.abs(difference[:, 3:6]).max() < 0.03  # of 0.1 rad
    assert np.abs(difference[:, :3].sum(0)).max() < 0.01  # of a path of 0.6 m
    settled = np.array([*range(14), *range(17, STEPS)])  # the gripper closes in two steps
    is_open = measured.executed[settled, 6] > 0.5
    np.testing.assert_array_equal(is_open, commanded.executed[settled, 6] > 0.5)
    np.testing.assert_array_equal(measured.proprio, commanded.proprio)
    poses = [pose_from_proprio(row) for row in measured.proprio]
    for action, before, after in zip(measured.executed, poses[:-1], poses[1:], strict=True):
        np.testing.assert_allclose(step_target(action, before, before), after, atol=1e-6)


def test_joint_states_alone_give_the_same_by_forward_kinematics(
    tmp_path: Path, recording: Script
) -> None:
    with_states, _ = exported(write(tmp_path / "both", recording), command="states")
    bag = write(tmp_path / "plain", without_commands(recording, "arm/state"))
    plain, audit = exported(bag, command="states")
    np.testing.assert_allclose(plain.proprio, with_states.proprio, atol=1e-5)
    np.testing.assert_allclose(plain.executed, with_states.executed, atol=1e-5)
    assert audit["topics"]["/wx250s/joint_states"]["fates"]["used"] == STEPS + 1


def test_the_card_says_that_actions_come_from_states(
    tmp_path: Path, recording: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write(tmp_path / "plain", without_commands(recording, "arm/state"))
    arguments = [str(bag), "--task", "wave", "--outcome", "success"]
    with pytest.raises(
        BagError, match="made of /wx250s/joint_states: with --command states"
    ):
        main([*arguments, "--out", str(tmp_path / "no")])
    store = tmp_path / "store"
    main([*arguments, "--command", "states", "--out", str(store)])
    assert "1 bags: actions are the steps from each state" in capsys.readouterr().out
    info = EpisodeStore.open(store).info
    assert info.command == "executed"
    assert info.sources[0]["actions"] == "from the next states"


def test_an_arm_faster_than_steps_can_be_is_refused_by_name(tmp_path: Path) -> None:
    script = Script()
    for number in range(40):  # the waist turns by 0.4 rad in each period
        joints = np.array([0.04 * (number - 20), 0.0, 0.2, 0.0, 1.37, 0.0])
        stamp = 10**18 + number * 20 * MS
        script.add("joint_states", stamp, joint_state(stamp, joints, 1.0))
        script.image(number, stamp)
    bag = write(tmp_path / "fast", script)
    result = read_episodes(bag, ReadOptions(8, command="states", task="wave"))
    assert result.episodes == []
    refusal = result.audit["episodes"][0]["refused"]
    assert refusal.startswith("between its states, its actions are no steps: half of them")


def test_a_state_of_other_joints_is_refused_and_a_failed_reading_is_passed_over(
    tmp_path: Path, recording: Script
) -> None:
    failed = without_commands(recording, "arm/state")
    states = [message for message in failed.messages if "joint_states" in message.topic]
    states[100].value.position[:] = -np.pi  # the bus could not be read
    states[120].value.position[0] = np.inf
    _, audit = exported(write(tmp_path / "failed", failed), command="states")
    fates = audit["topics"]["/wx250s/joint_states"]["fates"]
    assert (fates["undecodable"], fates["not finite"]) == (1, 1)
    states[200].value.name[0] = "shoulder_pan"
    with pytest.raises(
        BagError, match=r"names the joints shoulder_pan, shoulder.*needed are"
    ):
        exported(write(tmp_path / "other", failed), command="states")
