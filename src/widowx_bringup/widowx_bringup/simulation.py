"""The arm node over a simulated arm, and the world it lives in: time, scene, verdict."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, JointState

from ptr_msgs.msg import EefCommand
from ptr_msgs.srv import ResetScene
from ptr_policy_node import qos
from ptr_policy_node.node import Health, parameter, run, to_ns, to_stamp
from ptr_policy_node.spec import CONTROL_RATE, PtrError, camera_info_topic

from .arm_node import ArmNode, DeviceThread
from .camera_node import TOPIC_WORLD
from .controller import EefController
from .expert import Disturbance
from .kinematics import Kinematics
from .limits import Limits
from .pacing import Pacing
from .simulator import SimulatedArm, World
from .tasks import draw_layout

TICK = 0.01
"""Simulated time passes, and is published on /clock, in ticks of this length [s]."""

LATEST_START = 0.1
"""A world that falls further behind the wall clock than this [s] slows down instead of catching up in a burst."""


class WorldThread(DeviceThread):
    """The device thread of a simulated arm: between two jobs it lets time pass.

    One thread owns the world, so nothing needs a lock, and a command falls between two ticks.

    Args:
        tick: Called every `period` seconds of real time.
        period: See there.
    """

    def __init__(self, tick: Callable[[], None], period: float) -> None:
        super().__init__()
        self._tick = tick
        self._period = period

    def loop(self) -> None:
        """Work and tick until stopped."""
        due = time.monotonic()
        while self._work_until(due):
            self._tick()
            due = max(due + self._period, time.monotonic() - LATEST_START)

    def _work_until(self, due: float) -> bool:
        while True:
            try:
                if not self.work(timeout=max(0.0, due - time.monotonic())):
                    return False
            except queue.Empty:
                return True


class SimulationNode(ArmNode):
    """An arm node whose arm is simulated; adds the clock, the world's state, reset and verdict."""

    def __init__(self, **options: Any) -> None:
        self.world = World(epoch_ns=time.time_ns())  # so that the bags of two runs do not overlap in time
        super().__init__("simulation", self._make_device, self._make_thread, **options)

    def _make_device(self, node: Node) -> tuple[SimulatedArm, EefController]:
        arm = SimulatedArm(self.world)
        return arm, EefController(arm, Kinematics(), Limits())

    def _make_thread(self) -> WorldThread:
        self._factor = parameter(self, "real_time_factor", 1.0, "simulated seconds per second of real time")
        rate = parameter(self, "world_rate", 30.0, f"states per second on {TOPIC_WORLD}, the camera's rate [Hz]")
        self._pacing = Pacing(parameter(self, "patience", 2.0, "real time the world waits for picture or command [s]"))
        self._disturbance = parameter(
            self,
            "disturbance",
            0.0,
            "noise of the arm itself, as a part of the longest step",
        )
        self._disturb = Disturbance(np.random.default_rng(0), self._disturbance)
        camera = parameter(self, "camera", "over_shoulder", "camera whose pictures the world waits for")
        self._simulated = self.get_parameter("use_sim_time").value
        if self._factor <= 0 or (self._factor != 1.0 and not self._simulated):
            raise PtrError(f"real_time_factor {self._factor} is not possible; positive, and 1 without use_sim_time")
        if rate < CONTROL_RATE or rate % CONTROL_RATE:
            raise PtrError(f"world_rate {rate:g} Hz is not possible; choose a multiple of {CONTROL_RATE:g} Hz")
        self._state_period_ns = round(1e9 / rate)
        self._next_state_ns = self.world.time_ns
        self._measured = (time.monotonic(), self.world.time_ns)
        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self._world_publisher = self.create_publisher(JointState, TOPIC_WORLD, qos.STATE)
        self.create_subscription(CameraInfo, camera_info_topic(camera), self._on_picture, qos.IMAGES)
        self.create_service(ResetScene, "sim/reset", self._on_reset)
        self.serve("sim/outcome", self._outcome)
        return WorldThread(self._tick, TICK / self._factor)

    def now_ns(self) -> int:
        """Return the world's own time, fresher than what comes back on /clock."""
        return self.device_stamp_ns(self.world.time_ns)

    def device_stamp_ns(self, stamp_ns: int) -> int:
        """Return a stamp of the world on the system's clock, unless simulated time is the clock."""
        return stamp_ns if self._simulated else stamp_ns + time.time_ns() - self.world.time_ns

    def _on_picture(self, picture: CameraInfo) -> None:
        self._pacing.drawn(to_ns(picture.header.stamp))

    async def _on_reset(self, request: ResetScene.Request, response: ResetScene.Response) -> ResetScene.Response:
        response.success, response.message = await self.ask(lambda: self._reset(request.task, request.seed))
        return response

    # --- jobs: they run in the device thread ----------------------------------------------------------------

    def _tick(self) -> None:
        if self._simulated and self._pacing.must_wait(self.world.time_ns, self._next_state_ns):
            return
        if self.world.time_ns >= self._next_state_ns:
            self._next_state_ns += self._state_period_ns
            self._publish_world()
        self.world.advance(TICK)
        if self._simulated:
            self._clock_publisher.publish(Clock(clock=to_stamp(self.world.time_ns)))

    def _start(self, episode: str) -> None:
        super()._start(episode)
        self._pacing.answered(self.world.time_ns)  # the first command is waited for as well

    def _end(self, episode: str) -> None:
        super()._end(episode)
        self._pacing.expect_no_command()

    def _execute(self, request: EefCommand) -> None:
        wanted = np.asarray(request.action)
        if self._disturbance > 0 and self.guard.episode and np.isfinite(wanted).all():
            request.action = self._disturb(wanted)
        super()._execute(request)
        if self.guard.episode and not self.guard.holding:
            self._pacing.answered(to_ns(request.observation_stamp) or self.world.time_ns)

    def _hold(self, reason: str) -> str:
        self._pacing.expect_no_command()
        return super()._hold(reason)

    def _publish_world(self) -> None:
        message = JointState(position=self.world.state().tolist())
        message.header.stamp = to_stamp(self.now_ns())
        self._world_publisher.publish(message)
        self._pacing.show(to_ns(message.header.stamp))

    def _reset(self, task: str, seed: int) -> str:
        self.world.reset(draw_layout(task, seed))
        self._disturb = Disturbance(np.random.default_rng(seed), self._disturbance)
        self.controller.reset()
        return f"{task}, seed {seed}"

    def _outcome(self) -> str:
        if not self.world.success():
            raise PtrError("not solved")
        return "solved"

    def health(self) -> Health:
        """Return the arm's entry of /diagnostics with the real-time factor reached since the last one."""
        health = super().health()
        (real, simulated), now = self._measured, (time.monotonic(), self.world.time_ns)
        self._measured = now
        factor = (now[1] - simulated) * 1e-9 / max(now[0] - real, 1e-9)
        values = {**health.values, "real_time_factor": f"{factor:.2f}", "wanted": f"{self._factor:.2f}"}
        return Health(health.level, health.message, values)


def main() -> int:
    """Run the simulation."""
    return run(SimulationNode)


if __name__ == "__main__":
    sys.exit(main())
