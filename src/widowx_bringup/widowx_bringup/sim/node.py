"""The arm node over a simulated arm, and the world it lives in: time, scene, verdict."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from ptr_common import qos
from ptr_common.action_space import CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_common.managed_node import Health, parameter, run, to_ns, to_stamp
from ptr_msgs.msg import EefCommand
from ptr_msgs.srv import ResetScene
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.device_thread import DeviceThread
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.node import WATCH_PERIOD, ArmNode
from widowx_bringup.arm.protocol import Arm
from widowx_bringup.arm.refusal import Refusal
from widowx_bringup.camera.protocol import TOPIC_WORLD

from .expert import Disturbance
from .lockstep_clock import LockstepClock
from .tasks import draw_layout
from .world import SimulatedArm, World

TICK = 0.01
"""Simulated time passes, and is published on /clock, in ticks of this length [s]."""

WATCH_TICKS = round(WATCH_PERIOD / TICK)


class SimulationNode(ArmNode):
    """An arm node whose arm is simulated; adds the clock, the world's state, reset and verdict."""

    def __init__(self, **options: Any) -> None:
        self.world = World(
            epoch_ns=time.time_ns()
        )  # so that the bags of two runs do not overlap in time
        super().__init__("simulation", {"simulator": _simulator}, **options)
        self._factor = parameter(
            self, "real_time_factor", 1.0, "simulated seconds per real one", (1e-3, 1e3)
        )
        rate = parameter(
            self,
            "world_rate",
            30.0,
            f"states per second on {TOPIC_WORLD} [Hz]",
            (CONTROL_RATE, 1e3),
        )
        self._patience = parameter(
            self, "patience", 2.0, "real time the world waits for others [s]", (0.0, 60.0)
        )
        self._disturbance = parameter(
            self,
            "disturbance",
            0.0,
            "noise of the arm, part of the longest step",
            (0.0, 1.0),
        )
        if self._factor != 1.0 and not self.simulated_time:
            raise PtrError(
                f"real_time_factor {self._factor} is not possible without use_sim_time"
            )
        if rate % CONTROL_RATE:
            raise PtrError(
                f"world_rate {rate:g} Hz is not possible; choose a multiple of {CONTROL_RATE:g} Hz"
            )
        self._state_period_ns = round(1e9 / rate)

    def make_thread(self) -> DeviceThread:
        """Return the thread that owns the world, not yet started: a command falls between two ticks of time."""
        self._pacing = LockstepClock(self._patience)
        self._disturb = Disturbance(np.random.default_rng(0), self._disturbance)
        self._next_state_ns = self.world.time_ns
        self._measured = (time.monotonic(), self.world.time_ns)
        self._ticks = 0
        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self._world_publisher = self.create_publisher(JointState, TOPIC_WORLD, qos.STATE)
        self.create_service(ResetScene, "sim/reset", self._on_reset)
        self.serve("sim/outcome", self._outcome)
        return DeviceThread(self._tick, TICK / self._factor)

    def now_ns(self) -> int:
        """Return the world's own time, fresher than what comes back on /clock."""
        return self.device_stamp_ns(self.world.time_ns)

    def device_stamp_ns(self, stamp_ns: int) -> int:
        """Return a stamp of the world on the system's clock, unless simulated time is the clock."""
        return (
            stamp_ns
            if self.simulated_time
            else stamp_ns + time.time_ns() - self.world.time_ns
        )

    def note_image(self, stamp_ns: int) -> None:
        """Note that an image of the camera was published; the world may be waiting for it."""
        super().note_image(stamp_ns)
        self._pacing.drawn(stamp_ns)

    async def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        response.success, response.message = await self.ask(
            lambda: self._reset(request.task, request.seed)
        )
        return response

    # --- jobs: they run in the device thread ----------------------------------------------------------------

    def _tick(self) -> None:
        if self.simulated_time and self._pacing.must_wait(
            self.world.time_ns, self._next_state_ns
        ):
            return
        if self.world.time_ns >= self._next_state_ns:
            self._next_state_ns += self._state_period_ns
            self._publish_world()
        self.world.advance(TICK)
        self._ticks += 1
        if self._ticks % WATCH_TICKS == 0:
            self.watch()
        if self.simulated_time:
            self._clock_publisher.publish(Clock(clock=to_stamp(self.world.time_ns)))

    def _start(self, episode: str) -> None:
        super()._start(episode)
        if not self.guard.episode:
            return
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

    def _hold(self, reason: Refusal) -> str:
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
        values = {
            **health.values,
            "real_time_factor": f"{factor:.2f}",
            "wanted": f"{self._factor:.2f}",
        }
        return Health(health.level, health.message, values)


def _simulator(node: ArmNode) -> tuple[Arm, EefController]:
    assert isinstance(node, SimulationNode)
    arm = SimulatedArm(node.world)
    return arm, EefController(arm, Kinematics(), node.limits)


def main() -> int:
    """Run the simulation."""
    return run(SimulationNode)


if __name__ == "__main__":
    sys.exit(main())
