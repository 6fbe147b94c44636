"""The console beside the simulated arm: what a browser holds moves it, and nothing else does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from arm_node_rig import Rig  # noqa: E402
from console_rig import Browser  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo, JointState  # noqa: E402

from ptr_common import qos  # noqa: E402
from widowx_bringup.console.node import ConsoleNode  # noqa: E402


class SimulatedRig(Rig):
    """The simulated arm, a camera that answers each state of its world, and a console."""

    def __init__(self) -> None:
        super().__init__(use_sim_time=True)
        self.probe.destroy_publisher(self.commands)  # a second sender
        overrides = [Parameter("port", value=0), Parameter("task", value="")]
        self.console = ConsoleNode(parameter_overrides=overrides)
        self.executor.add_node(self.console)
        topic = "camera/over_shoulder/camera_info"
        self.camera = self.probe.create_publisher(CameraInfo, topic, qos.IMAGES)
        self.probe.create_subscription(JointState, "sim/world", self.show, qos.STATE)

    def show(self, world: JointState) -> None:
        image = CameraInfo()
        image.header.stamp = world.header.stamp
        self.camera.publish(image)

    def close(self) -> None:
        self.executor.remove_node(self.console)
        self.console.destroy_node()
        super().close()


@pytest.fixture
def rig(ros: None) -> Iterator[SimulatedRig]:
    with contextlib.closing(SimulatedRig()) as rig:
        yield rig


def test_the_arm_moves_while_a_key_is_held_and_stays_when_the_browser_falls_silent(
    rig: SimulatedRig,
) -> None:
    with contextlib.closing(Browser(rig.console.server.port)) as browser:
        rig.until(lambda: browser.view and browser.view["simulated"])
        rig.until(lambda: not browser.view["missing"])
        browser.send(drive=True)
        rig.until(lambda: browser.drives)
        start = rig.states[-1].proprio[0]
        browser.motion = (1.0, 0, 0, 0, 0, 0)
        rig.until(lambda: rig.states[-1].proprio[0] > start + 0.03)
        browser.asleep = True
        rig.until(lambda: not rig.console._input.held)
        executed = len(rig.executed)
        rig.until(lambda: rig.states[-1].joint_velocities[1] == pytest.approx(0, abs=1e-3))
        states = len(rig.states)
        rig.until(lambda: len(rig.states) > states + 20)
        assert len(rig.executed) <= executed + 1  # one may have been on its way
        assert rig.states[-1].rejected == 0
        assert rig.states[-1].proprio[0] == pytest.approx(
            rig.states[states].proprio[0], abs=1e-3
        )
