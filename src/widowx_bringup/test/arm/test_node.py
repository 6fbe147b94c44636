"""The arm node over real DDS, with the simulated arm behind it and on the system's clock."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from arm_node_rig import SECOND, STEP, Rig  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.managed_node import to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent  # noqa: E402
from ptr_msgs.srv import ResetScene  # noqa: E402
from widowx_bringup.arm.controller import EefController  # noqa: E402
from widowx_bringup.arm.counts import CommandCounts  # noqa: E402
from widowx_bringup.arm.guard import CommandGuard  # noqa: E402
from widowx_bringup.arm.motions import START_POSE, ArmMotions  # noqa: E402
from widowx_bringup.arm.protocol import ArmError, JointReading  # noqa: E402
from widowx_bringup.sim.node import SimulationNode  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK  # noqa: E402


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig()) as rig:
        yield rig


def test_command_moves_the_arm_and_is_answered_with_what_was_executed(rig: Rig) -> None:
    before = np.array(rig.states[-1].proprio)
    stamp = rig.command()
    rig.until(lambda: rig.executed)
    answer = rig.executed[0]
    assert answer.observation_stamp.sec * SECOND + answer.observation_stamp.nanosec == stamp
    assert answer.source == EefCommand.SOURCE_TELEOP
    assert np.allclose(answer.action, STEP, atol=2e-3)
    rig.until(lambda: rig.states[-1].proprio[0] > before[0] + 0.006)
    assert rig.states[-1].status == ArmState.STATUS_OK


@pytest.mark.usefixtures("ros")
def test_frames_are_those_of_interbotix_urdf() -> None:
    with contextlib.closing(Rig(namespace="left")) as rig:
        assert rig.states[-1].header.frame_id == "left/base_link"


def test_state_and_joints_describe_the_same_arm(rig: Rig) -> None:
    rig.until(lambda: rig.heard["joint_states"])
    joints = rig.heard["joint_states"][0]
    state = next(state for state in rig.states if state.header.stamp == joints.header.stamp)
    assert np.allclose(joints.position[:6], state.joint_positions)
    assert joints.name[6:] == ["gripper", "left_finger", "right_finger"]
    assert np.allclose(
        [state.eef_pose.position.x, state.eef_pose.position.y], state.proprio[:2]
    )
    age = time.time_ns() - (state.header.stamp.sec * SECOND + state.header.stamp.nanosec)
    assert 0 <= age < 20 * SECOND  # the system's clock, not the world's


def test_command_outside_the_bounds_is_clipped_and_counted(rig: Rig) -> None:
    rig.command_and_wait((1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    assert rig.executed[-1].action[0] <= 0.0501
    rig.until(lambda: rig.states[-1].clipped == 1)


def test_late_command_is_rejected_and_counted(rig: Rig) -> None:
    rig.command_and_wait(age=1.0)
    assert rig.executed == []
    assert rig.states[-1].status == ArmState.STATUS_OK


def test_command_that_is_not_finite_makes_the_arm_hold(rig: Rig) -> None:
    rig.command_and_wait((np.nan,) * 7)
    rig.hold_until("not finite")
    rig.command_and_wait()
    assert rig.executed == []


def test_silent_policy_makes_the_arm_hold_until_enabled(rig: Rig) -> None:
    rig.start()
    rig.command_and_wait()
    rig.hold_until("no command for")
    assert rig.states[-1].held == 1
    rig.command_and_wait()
    assert len(rig.executed) == 1
    assert rig.call(Trigger, "arm/enable").success
    rig.command_and_wait()
    assert len(rig.executed) == 2


def test_end_of_the_episode_is_no_silence(rig: Rig) -> None:
    rig.start()
    rig.command_and_wait()
    rig.events.publish(EpisodeEvent(episode_id="e", event=EpisodeEvent.STOP))
    rig.until(lambda: not rig.node.guard.episode)
    seen = len(rig.states)
    rig.until(
        lambda: len(rig.states) > seen + 12
    )  # 0.6 s at 20 Hz, longer than the silence allowed
    assert rig.states[-1].status == ArmState.STATUS_OK


def test_operator_hold_stops_the_arm_where_it_is(rig: Rig) -> None:
    rig.command((0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    rig.until(lambda: np.abs(rig.states[-1].joint_velocities).max() > 0.1)
    answer = rig.call(Trigger, "arm/hold")
    assert answer.success
    rig.hold_until("operator")
    rig.until(lambda: np.abs(rig.states[-1].joint_velocities).max() < 0.02)
    assert rig.states[-1].proprio[0] - rig.states[0].proprio[0] < 0.045


def test_second_sender_of_commands_makes_the_arm_hold_and_both_are_named(rig: Rig) -> None:
    rival = rclpy.create_node("rival")
    rival.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
    rig.hold_until("2 nodes publish arm/command: /probe, /rival")
    rig.command_and_wait()
    assert rig.executed == []
    rival.destroy_node()


def test_go_to_start_moves_slowly_and_refuses_commands_meanwhile(rig: Rig) -> None:
    while rig.states[-1].proprio[1] < 0.08:
        rig.command_and_wait((0.0, 0.04, 0.0, 0.0, 0.0, 0.0, 1.0))
    rig.until(lambda: np.abs(rig.states[-1].joint_velocities).max() < 0.05)
    answer = rig.call(Trigger, "arm/go_to_start")
    assert answer.success
    underway, executed = len(rig.states), len(rig.executed)
    rig.command_and_wait()
    assert len(rig.executed) == executed
    rig.until(lambda: rig.states[-1].reason == "")
    rig.until(lambda: np.allclose(rig.states[-1].proprio[:6], START_POSE, atol=0.02))
    assert (
        max(np.abs(state.joint_velocities).max() for state in rig.states[underway:]) < 1.2
    )


def test_lost_arm_is_a_fault_and_the_arm_stays_held_when_it_is_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(max_age: float = 0.2) -> JointReading:
        raise ArmError("servo bus does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(rig.node.arm, "read", lost)
        rig.until(lambda: rig.states[-1].status == ArmState.STATUS_FAULT)
        assert rig.states[-1].reason == "servo bus does not answer"
    rig.hold_until("fault: servo bus does not answer")


def test_diagnostics_tell_the_reason_and_the_counts(rig: Rig) -> None:
    rig.call(Trigger, "arm/hold")
    rig.until(
        lambda: any(
            "operator" in message.status[0].message for message in rig.heard["/diagnostics"]
        )
    )
    status = rig.heard["/diagnostics"][-1].status[0]
    assert status.name == "/simulation"
    assert {"clipped", "held", "rejected", "real_time_factor"} <= {
        value.key for value in status.values
    }


def test_reset_draws_the_scene_of_a_task_and_the_outcome_is_open(rig: Rig) -> None:
    answer = rig.call(ResetScene, "sim/reset", ResetScene.Request(task=TARGET_TASK, seed=3))
    assert answer.success, answer.message
    assert not rig.call(Trigger, "sim/outcome").success
    first = rig.node.world.state()
    rig.call(ResetScene, "sim/reset", ResetScene.Request(task=TARGET_TASK, seed=4))
    assert not np.allclose(first, rig.node.world.state(), atol=1e-3)


def test_reset_of_an_unknown_task_is_refused(rig: Rig) -> None:
    answer = rig.call(ResetScene, "sim/reset", ResetScene.Request(task="fold the towel"))
    assert not answer.success
    assert "unknown task 'fold the towel'" in answer.message


def test_configured_arm_that_is_not_active_shows_its_state_and_takes_no_command(
    ros: None,
) -> None:
    with contextlib.closing(Rig(start=False)) as rig:
        rig.node.trigger_configure()
        rig.connect()
        rig.hold_until("not active")
        rig.command_and_wait()
        answer = rig.call(Trigger, "arm/enable")
        assert not answer.success
        assert "ros2 lifecycle set /simulation activate" in answer.message
        assert not rig.executed
        rig.node.trigger_activate()
        rig.command()
        rig.until(lambda: rig.executed)
        assert rig.node.guard.counts.held == 0


def test_deactivated_arm_stays_held_until_it_is_active_and_enabled(rig: Rig) -> None:
    rig.start()
    rig.command_and_wait()
    rig.node.trigger_deactivate()
    rig.hold_until("deactivated")
    assert not rig.call(Trigger, "arm/enable").success
    rig.node.trigger_activate()
    rig.command_and_wait()
    assert rig.states[-1].status == ArmState.STATUS_HOLDING
    assert rig.call(Trigger, "arm/enable").success
    rig.until(lambda: rig.states[-1].status == ArmState.STATUS_OK)


def test_arm_can_be_cleaned_up_and_configured_again(rig: Rig) -> None:
    rig.node.trigger_deactivate()
    rig.node.trigger_cleanup()
    rig.heard["arm/state"].clear()
    rig.node.start()
    rig.connect()
    assert rig.call(Trigger, "arm/enable").success
    rig.command()
    rig.until(lambda: rig.executed)


def thread_of_each_write(
    monkeypatch: pytest.MonkeyPatch, *classes: type
) -> dict[str, set[str]]:
    """Return what is filled from now on: the threads that write each field of some classes.

    Writes of constructors are left out.
    """
    writers: dict[str, set[str]] = defaultdict(set)

    def watched_setattr(self: object, name: str, value: object) -> None:
        if sys._getframe(1).f_code.co_name != "__init__":
            field = f"{type(self).__name__}.{name}"
            writers[field].add(threading.current_thread().name)
        object.__setattr__(self, name, value)

    for each_class in classes:
        monkeypatch.setattr(each_class, "__setattr__", watched_setattr)
    return writers


def test_only_the_device_thread_writes_guard_counts_motions_and_controller(
    ros: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = thread_of_each_write(
        monkeypatch, CommandGuard, CommandCounts, ArmMotions, EefController
    )
    with contextlib.closing(Rig()) as rig:
        images = rig.probe.create_publisher(
            CameraInfo, "camera/over_shoulder/camera_info", qos.IMAGES
        )
        rig.until(images.get_subscription_count)
        image = CameraInfo()
        image.header.stamp = to_stamp(time.time_ns())
        images.publish(image)
        rig.until(lambda: rig.node.guard.image_ns)
        rig.command_and_wait((1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
        rig.command_and_wait(age=1.0)
        rig.start()
        rig.until(lambda: rig.node.guard.holding)  # neither images nor commands come
        rig.events.publish(EpisodeEvent(episode_id="e", event=EpisodeEvent.STOP))
        rig.until(lambda: not rig.node.guard.episode)
        assert rig.call(Trigger, "arm/enable").success
        assert rig.call(Trigger, "arm/go_to_start").success
        assert rig.call(Trigger, "arm/hold").success
        rig.node.trigger_deactivate()
        rig.node.trigger_cleanup()
        rig.node.start()
        rig.until(lambda: not rig.node.guard.holding)
    written = set(writers)
    assert {
        "CommandGuard._image_ns",
        "CommandGuard._accepted_ns",
        "CommandGuard._hold",
        "CommandGuard.busy",
        "CommandGuard.episode",
        "CommandCounts.clipped",
        "CommandCounts.held",
        "CommandCounts.rejected",
        "ArmMotions._path",
        "EefController._target",
    } <= written
    assert set().union(*writers.values()) == {"device"}


def test_an_image_is_noted_in_the_device_thread_before_the_next_look(rig: Rig) -> None:
    threads: list[str] = []
    note = rig.node.guard.on_image

    def watched_note(stamp_ns: int, now_ns: int) -> None:
        threads.append(threading.current_thread().name)
        note(stamp_ns, now_ns)

    rig.node.guard.on_image = watched_note
    image = CameraInfo()
    image.header.stamp = to_stamp(7 * SECOND)
    rig.node._on_image(image)
    rig.node.device.submit(lambda: None).result(timeout=5.0)
    assert threads == ["device"]
    assert rig.node.guard.image_ns == 7 * SECOND


def test_broken_world_ends_the_node(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(seconds: float) -> None:
        raise ArmError("the simulated physics diverged")

    monkeypatch.setattr(rig.node.world, "advance", diverge)
    with pytest.raises(
        PtrError, match="device thread ended: the simulated physics diverged"
    ):
        rig.until(lambda: False, limit=5.0)


def test_simulated_time_passes_at_the_factor_asked_for() -> None:
    rclpy.init()
    rig = Rig(use_sim_time=True, real_time_factor=3.0)
    try:
        assert rig.node.now_ns() == rig.node.world.time_ns
        factors: list[str] = []

        def measured() -> bool:
            values = [
                value
                for message in rig.heard["/diagnostics"]
                for value in message.status[0].values
            ]
            factors[:] = [
                value.value for value in values if value.key == "real_time_factor"
            ]
            return len(factors) >= 2

        rig.until(measured)
        assert (
            1.2 < float(factors[-1]) < 3.3
        )  # a busy computer reaches less than asked for, never more
    finally:
        rig.close()
        rclpy.shutdown()


def test_world_waits_for_a_late_command_and_goes_on_without_it() -> None:
    rclpy.init()
    rig = Rig(use_sim_time=True, patience=0.5, resume_on_start=True)
    try:
        rig.start()
        message = EefCommand(action=STEP)
        message.header.stamp = message.observation_stamp = to_stamp(rig.node.now_ns())
        rig.commands.publish(message)
        rig.until(lambda: rig.executed)
        rig.until(lambda: rig.node._lockstep.paused)
        stood = rig.node.world.time_ns
        assert rig.states[-1].status == ArmState.STATUS_OK
        rig.hold_until(
            "no command for"
        )  # after `patience`, time goes on and the silence is noticed
        assert rig.node.world.time_ns > stood
    finally:
        rig.close()
        rclpy.shutdown()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"real_time_factor": 2.0}, "real_time_factor 2.0 is not possible"),
        ({"world_rate": 12.0}, "choose a multiple of 5 Hz"),
        ({"max_command_age": "long"}, "max_command_age"),
        ({"max_command_silence": 1e9}, "max_command_silence .* out of range"),
        ({"workspace_high": [0.45, 0.25, 9.0]}, "within 0.8 m of the base"),
        (
            {"device": "crane"},
            "'crane' is no kind of arm of simulation; there are: simulator",
        ),
    ],
)
def test_impossible_parameter_is_refused(overrides: dict[str, Any], message: str) -> None:
    rclpy.init()
    try:
        with pytest.raises(PtrError, match=message):
            SimulationNode(
                parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()]
            )
    finally:
        rclpy.shutdown()
