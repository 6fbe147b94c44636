"""The scripted teleoperator over real DDS: its commands answer images of an episode."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from probe_rig import ProbeRig  # noqa: E402
from sensor_msgs.msg import CameraInfo, JointState  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.managed_node import to_ns, to_stamp  # noqa: E402
from ptr_common.node import malformed_messages  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent  # noqa: E402
from widowx_bringup.sim.expert import Expert  # noqa: E402
from widowx_bringup.sim.mistakes import Mistakes  # noqa: E402
from widowx_bringup.sim.scripted_teleop import ScriptedTeleop  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK, expert, sample_layout  # noqa: E402
from widowx_bringup.sim.world import World  # noqa: E402

PROPRIO = np.array([0.25, 0.0, 0.15, 0.0, 0.0, 0.1, 1.0])


class Rig(ProbeRig):
    """The teleoperator, and a probe that publishes a still scene and keeps the commands."""

    def __init__(self) -> None:
        self.world = World()
        self.world.reset(sample_layout(TARGET_TASK, 3))
        self.node = ScriptedTeleop()
        self.probe = rclpy.create_node("probe")
        make = self.probe.create_publisher
        self.worlds = make(JointState, "sim/world", qos.STATE)
        self.states = make(ArmState, "arm/state", qos.STATE)
        self.infos = make(CameraInfo, "camera/over_shoulder/camera_info", qos.IMAGES)
        self.events = make(EpisodeEvent, "episode/event", qos.EVENTS)
        self.commands: list[EefCommand] = []
        self.shown: list[int] = []  # stamps of the images [ns]
        self.probe.create_subscription(
            EefCommand, "arm/command", self.commands.append, qos.COMMANDS
        )
        self.add_nodes()
        publishers = (self.worlds, self.states, self.infos, self.events)
        self.until(lambda: all(p.get_subscription_count() for p in publishers))

    def close(self) -> None:
        super().close()
        self.world.close()

    def event(self, event: int, task: str = TARGET_TASK) -> None:
        message = EpisodeEvent(episode_id="e1", event=event, task=task)
        message.header.stamp = self.probe.get_clock().now().to_msg()
        self.events.publish(message)

    def show(self, *, shift_ns: int = 0) -> None:
        """Publish world, arm state and image of this moment; `shift_ns` misses the state."""
        now_ns = self.probe.get_clock().now().nanoseconds
        world = JointState(position=self.world.state().tolist())
        arm = ArmState(status=ArmState.STATUS_OK, proprio=PROPRIO)
        info = CameraInfo()
        world.header.stamp = arm.header.stamp = to_stamp(now_ns)
        info.header.stamp = to_stamp(now_ns + shift_ns)
        self.worlds.publish(world)
        self.states.publish(arm)
        self.spin()  # topics have no common order
        self.infos.publish(info)
        self.shown.append(now_ns + shift_ns)
        self.spin()

    def spin(self, turns: int = 6) -> None:
        for _ in range(turns):
            self.executor.spin_once(timeout_sec=0.01)

    def show_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.show()


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_a_command_is_the_experts_for_the_scene_of_an_image(rig: Rig) -> None:
    rig.event(EpisodeEvent.START)
    rig.show_until(lambda: rig.commands)
    command = rig.commands[0]
    assert to_ns(command.observation_stamp) in rig.shown
    assert command.source == EefCommand.SOURCE_SCRIPT
    expected = expert(rig.world, TARGET_TASK)(PROPRIO)
    np.testing.assert_allclose(command.action, expected, atol=1e-6)


def test_commands_are_one_control_period_apart(rig: Rig) -> None:
    rig.event(EpisodeEvent.START)
    rig.show_until(lambda: len(rig.commands) >= 3)
    stamps = [to_ns(command.observation_stamp) for command in rig.commands]
    assert len(rig.shown) > len(stamps)
    assert min(np.diff(stamps)) > 100_000_000


def test_nothing_is_commanded_before_start_nor_after_the_end(rig: Rig) -> None:
    for _ in range(5):
        rig.show()
    assert not rig.commands
    rig.event(EpisodeEvent.START)
    rig.show_until(lambda: rig.commands)
    rig.event(EpisodeEvent.SUCCESS)
    rig.until(lambda: rig.node._expert is None)
    count = len(rig.commands)
    began = time.monotonic()
    rig.show_until(lambda: time.monotonic() > began + 0.5)
    assert len(rig.commands) == count


def test_a_demonstrator_that_waits_does_not_change_the_gripper_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.node._mistakes = Mistakes(waits=1.0)
    closing = np.array([0.0] * 6 + [0.0])
    monkeypatch.setattr(Expert, "act", lambda *_: closing)
    rig.event(EpisodeEvent.START)
    rig.show_until(lambda: len(rig.commands) >= 10)
    grippers = [command.action[6] for command in rig.commands]
    waited = grippers.index(0.0)
    assert waited in (4, 5, 6, 7, 8)
    assert grippers[:10] == [1.0] * waited + [0.0] * (10 - waited)


def test_an_image_without_a_world_state_is_not_answered(rig: Rig) -> None:
    rig.event(EpisodeEvent.START)
    rig.until(lambda: rig.node._expert is not None)
    for _ in range(5):
        rig.show(shift_ns=1)
    assert not rig.commands


def test_a_state_of_another_world_is_counted_and_the_next_is_answered(rig: Rig) -> None:
    rig.event(EpisodeEvent.START)
    rig.spin()
    rig.worlds.publish(JointState(position=[0.0, 1.0]))
    counts = malformed_messages(rig.node).counts
    rig.until(lambda: counts["/sim/world"] == 1)
    rig.show_until(lambda: rig.commands)


def test_an_unknown_task_is_logged_and_not_demonstrated(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.event(EpisodeEvent.START, "fold the towel")
    log: list[str] = []

    def is_logged() -> bool:
        log.append(capfd.readouterr().err)
        return "unknown task 'fold the towel'" in "".join(log)

    rig.show_until(is_logged)
    assert not rig.commands
