"""Motions that the arm makes by itself, without ROS."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from arm_strategies import LIMITS, LaggingArm

from ptr_common.action_space import proprio_from_pose
from widowx_bringup.arm import motions as motions_module
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.device_thread import DeviceThread
from widowx_bringup.arm.guard import CommandGuard
from widowx_bringup.arm.joint_path import SEND_PERIOD, SPEED
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.motions import REST_LIMIT, START_POSE, STOPPABLE_AFTER, ArmMotions
from widowx_bringup.arm.protocol import ArmError
from widowx_bringup.arm.refusal import Kind, Refusal

KINEMATICS = Kinematics()
PERIOD = 0.02
UP = np.array([0.3, -0.1, 0.3, 0.1, 1.2, 0.2])
SLEEP = np.array([0.0, -1.80, 1.55, 0.0, 0.8, 0.0])
STEP = np.array([0.01, 0, 0, 0, 0, 0, 1.0])
OPERATOR = Refusal(Kind.OPERATOR, "stopped by the operator")


class Rig:
    """Motions of an arm that lags, with its guard and its controller."""

    def __init__(self, *, can_sleep: bool = True) -> None:
        self.arm = LaggingArm(UP)
        self.arm.gripper = 0.4
        if can_sleep:
            self.arm.features = replace(self.arm.features, sleep=SLEEP)
        self.guard = CommandGuard(0.2, 0.4, 0.4)
        self.controller = EefController(self.arm, KINEMATICS, LIMITS)
        self.motions = ArmMotions(self.controller, self.guard, PERIOD)

    def advance_to_the_end(self) -> None:
        calls = 0
        while self.guard.busy:
            calls += 1
            assert calls < 2000, "the motion does not end"
            self.motions.advance()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_start_pose_and_the_times_are_those_of_the_documents() -> None:
    assert START_POSE == (0.30, 0.0, 0.15, 0.0, 0.0, 0.0)
    assert (REST_LIMIT, STOPPABLE_AFTER) == (20.0, 1.0)


def test_the_arm_goes_to_its_start_pose_with_an_open_gripper(rig: Rig) -> None:
    assert rig.motions.go_to_start() == "moving to its start pose"
    assert rig.guard.busy == "moving to its start pose"
    rig.advance_to_the_end()
    proprio = proprio_from_pose(KINEMATICS.forward(rig.arm.joints), 1.0)
    np.testing.assert_allclose(proprio[:6], START_POSE, atol=5e-3)
    assert {target.gripper for target in rig.arm.targets} == {1.0}


def test_the_arm_goes_to_a_pose_with_an_open_gripper(rig: Rig) -> None:
    pose = (0.25, -0.1, 0.10, 0.0, 0.1, 0.3)
    assert rig.motions.go_to_pose(pose) == "moving to a pose"
    rig.advance_to_the_end()
    proprio = proprio_from_pose(KINEMATICS.forward(rig.arm.joints), 1.0)
    np.testing.assert_allclose(proprio[:6], pose, atol=5e-3)
    assert {target.gripper for target in rig.arm.targets} == {1.0}


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        ((0.3, 0.0, 0.0, 0.0, 0.0, 0.0), r"\[0.3, 0.0, 0.0\] is outside the workspace box"),
        (
            (0.44, 0.24, 0.32, 0.0, 0.0, 0.0),
            r"the pose \[0.44, .*no joints within the limits",
        ),
        ((0.3, float("nan"), 0.15, 0.0, 0.0, 0.0), "the pose is not finite"),
        ((0.3, 0.0, 0.15), "the shape must be"),
    ],
)
def test_an_impossible_pose_is_refused_and_nothing_moves(
    rig: Rig, pose: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ArmError, match=message):
        rig.motions.go_to_pose(pose)
    assert rig.guard.busy == ""
    rig.motions.advance()
    assert not rig.arm.targets


@pytest.mark.parametrize(("measured", "kept"), [(0.4, 0.4), (1.2, 1.0), (-0.1, 0.0)])
def test_the_arm_goes_to_its_sleep_pose_with_the_gripper_as_it_is(
    rig: Rig, measured: float, kept: float
) -> None:
    rig.arm.gripper = measured
    assert rig.motions.go_to_sleep() == "moving to its sleep pose"
    rig.advance_to_the_end()
    np.testing.assert_allclose(rig.arm.joints, SLEEP, atol=0.03)
    assert {target.gripper for target in rig.arm.targets} == {kept}


def test_targets_are_slow(rig: Rig) -> None:
    rig.motions.go_to_sleep()
    rig.advance_to_the_end()
    joints = [UP, *(target.positions for target in rig.arm.targets)]
    assert np.abs(np.diff(joints, axis=0)).max() <= SPEED * SEND_PERIOD + 1e-9


def test_commands_are_refused_during_a_motion_and_pass_after_it(rig: Rig) -> None:
    rig.motions.go_to_start()
    refusal = rig.guard.check(STEP, 0, 0)
    assert refusal == Refusal(Kind.MOVING, "arm is moving to its start pose")
    rig.advance_to_the_end()
    assert rig.guard.check(STEP, 0, 0) is None


def test_the_first_step_after_a_motion_starts_from_the_measured_pose(rig: Rig) -> None:
    rig.controller.execute(STEP)
    assert rig.controller.target is not None
    rig.motions.go_to_start()
    rig.advance_to_the_end()
    assert rig.controller.target is None


def test_a_hold_ends_a_motion(rig: Rig) -> None:
    rig.motions.go_to_start()
    for _ in range(10):
        rig.motions.advance()
    rig.guard.hold(OPERATOR)
    sent = len(rig.arm.targets)
    assert sent > 0
    rig.guard.enable()
    for _ in range(10):
        rig.motions.advance()
    assert len(rig.arm.targets) == sent


def test_nothing_is_sent_without_a_motion(rig: Rig) -> None:
    rig.motions.advance()
    rig.guard.begin_motion("moving by somebody else")
    rig.motions.advance()
    assert not rig.arm.targets


@pytest.mark.parametrize("name", ["go_to_start", "go_to_sleep"])
def test_a_holding_arm_does_not_set_out(rig: Rig, name: str) -> None:
    rig.guard.hold(OPERATOR)
    message = r"arm is holding: stopped by the operator; call arm/enable first"
    with pytest.raises(ArmError, match=message):
        getattr(rig.motions, name)()
    assert rig.guard.busy == ""
    rig.motions.advance()
    assert not rig.arm.targets


def test_an_arm_without_a_sleep_pose_does_not_go_there() -> None:
    with pytest.raises(ArmError, match="this arm has no sleep pose"):
        Rig(can_sleep=False).motions.go_to_sleep()


def test_a_start_pose_out_of_reach_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motions_module, "START_POSE", (0.9, 0.0, 0.15, 0.0, 0.0, 0.0))
    with pytest.raises(ArmError, match=r"the start pose \(0.9, .*no joints within"):
        rig.motions.go_to_start()
    assert rig.guard.busy == ""


def test_every_target_of_a_motion_passes_the_joint_limiter(rig: Rig) -> None:
    rig.motions.go_to_sleep()
    rig.arm.joints = np.full(6, -np.pi)  # as when the servo bus cannot be read
    with pytest.raises(ArmError, match="the servo bus could not be read"):
        rig.advance_to_the_end()
    assert not rig.arm.targets


def test_a_path_beyond_a_joint_limit_is_clipped() -> None:
    rig = Rig()
    beyond = SLEEP.copy()
    beyond[1] = -1.9
    rig.arm.features = replace(rig.arm.features, sleep=beyond)
    rig.motions.go_to_sleep()
    rig.advance_to_the_end()
    assert rig.arm.targets[-1].positions[1] == LIMITS.joint_low[1]


# --- rest -----------------------------------------------------------------------------------


@pytest.fixture
def device(rig: Rig) -> Iterator[DeviceThread]:
    device = DeviceThread(rig.motions.advance, 0.0005)
    device.start()
    yield device
    device.stop()
    assert device.error is None


def test_an_arm_at_rest_is_in_its_sleep_pose(rig: Rig, device: DeviceThread) -> None:
    before = signal.getsignal(signal.SIGINT)
    texts: list[str] = []
    rig.motions.rest(device, lambda: rig.guard.hold(OPERATOR), texts.append)
    np.testing.assert_allclose(rig.arm.joints, SLEEP, atol=0.03)
    assert texts == ["going to the sleep pose; Ctrl-C stops it"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_held_arm_is_not_brought_to_rest(rig: Rig, device: DeviceThread) -> None:
    before = signal.getsignal(signal.SIGINT)
    device.submit(lambda: rig.guard.hold(OPERATOR)).result()
    texts: list[str] = []
    with pytest.raises(ArmError, match="arm is holding: stopped by the operator"):
        rig.motions.rest(device, lambda: None, texts.append)
    assert not texts
    assert not rig.arm.targets
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("after", "stops"), [(0.0, True), (60.0, False)])
def test_ctrl_c_stops_the_motion_to_rest_unless_it_comes_at_once(
    rig: Rig,
    device: DeviceThread,
    monkeypatch: pytest.MonkeyPatch,
    after: float,
    stops: bool,
) -> None:
    monkeypatch.setattr(motions_module, "STOPPABLE_AFTER", after)

    def interrupt(_: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    if stops:
        with pytest.raises(ArmError, match="stopped by the operator"):
            rig.motions.rest(device, lambda: rig.guard.hold(OPERATOR), interrupt)
    else:
        rig.motions.rest(device, lambda: rig.guard.hold(OPERATOR), interrupt)
    assert rig.guard.holding is stops


def test_a_device_that_does_not_answer_is_reported(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motions_module, "REST_LIMIT", 0.05)
    never_started = DeviceThread(rig.motions.advance, PERIOD)
    with pytest.raises(ArmError, match="the device does not answer"):
        rig.motions.rest(never_started, lambda: None, lambda _: None)


def test_a_motion_that_takes_too_long_is_reported(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motions_module, "REST_LIMIT", 0.2)
    slow = DeviceThread(lambda: None, PERIOD)  # never advances
    slow.start()
    with pytest.raises(ArmError, match="moving to its sleep pose"):
        rig.motions.rest(slow, lambda: None, lambda _: None)
    slow.stop()


def test_the_arm_rests_from_the_main_thread_and_moves_in_the_device_thread(
    rig: Rig, device: DeviceThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    send = rig.arm.send

    def watched_send(target: object) -> object:
        threads.add(threading.current_thread().name)
        return send(target)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.arm, "send", watched_send)
    rig.motions.rest(device, lambda: None, lambda _: None)
    assert threads == {"device"}
