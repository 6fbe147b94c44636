"""The node `simulation`: the arm node over a simulated arm, and its world: time, scene, success."""

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
from widowx_bringup.arm.node import STATE_RATE, WATCH_PERIOD, ArmNode
from widowx_bringup.arm.protocol import Arm
from widowx_bringup.arm.refusal import Refusal
from widowx_bringup.camera.protocol import TOPIC_WORLD

from .expert import Disturbance
from .lockstep_clock import LockstepClock
from .simulated_devices import SimulatedArm
from .tasks import TARGET_TASK, sample_layout
from .world import World

TICK = 0.01
"""Step of simulated time between two messages on /clock [s]."""

WATCH_TICKS = round(WATCH_PERIOD / TICK)
STATE_TICKS = round(1.0 / (STATE_RATE * TICK))


class SimulationNode(ArmNode):
    """An arm node whose arm is simulated; adds the clock, the world's state, reset and success.

    Only the device thread changes the world.

    Attributes:
        world: The simulated world.
    """

    def __init__(self, **options: Any) -> None:
        """Build the world and declare the parameters.

        Args:
            options: Passed on to `ArmNode`.

        Raises:
            PtrError: If the value of a parameter is not possible.
        """
        # The present time as epoch: the bags of two runs do not overlap in time.
        self.world = World(epoch_ns=time.time_ns())
        super().__init__("simulation", {"simulator": _simulator}, **options)
        self._factor = parameter(
            self, "real_time_factor", 1.0, "simulated seconds per real second", (1e-3, 1e3)
        )
        states = f"states per second on {TOPIC_WORLD} [Hz]"
        rate = parameter(self, "world_rate", 30.0, states, (CONTROL_RATE, 1e3))
        self._timeout = parameter(
            self,
            "patience",
            2.0,
            "longest pause for other nodes [s of real time]",
            (0.0, 60.0),
        )
        noise = "noise of the arm, relative to the longest step"
        self._noise = parameter(self, "disturbance", 0.0, noise, (0.0, 1.0))
        task = parameter(self, "scene_task", TARGET_TASK, "task of the scene at the start")
        seed = parameter(self, "scene_seed", 0, "seed of that scene", (0, 2**63 - 1))
        self.world.reset(sample_layout(task, seed))

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
        """Return the thread that owns the world, not yet started.

        A command is executed between two ticks of simulated time.

        Returns:
            The thread, which calls `_tick` at the real-time factor.
        """
        self._lockstep = LockstepClock(self._timeout)
        self._disturbance = Disturbance(np.random.default_rng(0), self._noise)
        self._next_state_ns = self.world.time_ns
        self._measured = (time.monotonic(), self.world.time_ns)
        self._ticks = 0

        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self._world_publisher = self.create_publisher(JointState, TOPIC_WORLD, qos.STATE)
        self.answer(
            ResetScene, "sim/reset", lambda scene: self._reset(scene.task, scene.seed)
        )
        self.serve("sim/outcome", self._outcome)
        return DeviceThread(self._tick, TICK / self._factor)

    def start_states(self) -> None:
        """Leave it to the ticks: on a busy computer a timer would be late by the world's time."""

    def now_ns(self) -> int:
        """Return the world's time [ns]; the clock of the node follows it over /clock."""
        return self.device_stamp_ns(self.world.time_ns)

    def device_stamp_ns(self, stamp_ns: int) -> int:
        """Return a stamp of the world on the clock of the graph: simulated or system time.

        Args:
            stamp_ns: Time of the world [ns].

        Returns:
            The same moment on the clock of the graph [ns].
        """
        if self.simulated_time:
            return stamp_ns
        return stamp_ns + time.time_ns() - self.world.time_ns

    def note_image(self, stamp_ns: int) -> None:
        """Note that an image of the camera was published; the world may be waiting for it."""
        super().note_image(stamp_ns)
        self._lockstep.on_image(stamp_ns)

    # --- jobs: they run in the device thread ------------------------------------------------

    def _tick(self) -> None:
        """Simulate one tick, unless time is paused; publish state and clock when due."""
        world_ns = self.world.time_ns
        if self.simulated_time and self._lockstep.must_pause(world_ns, self._next_state_ns):
            return

        if world_ns >= self._next_state_ns:
            self._next_state_ns += self._state_period_ns
            self._publish_world()

        if self._ticks % STATE_TICKS == 0:
            self.publish_state()

        self.world.advance(TICK)
        self._ticks += 1
        if self._ticks % WATCH_TICKS == 0:
            self.watch()
        if self.simulated_time:
            self._clock_publisher.publish(Clock(clock=to_stamp(self.world.time_ns)))

    def _start(self, episode: str) -> None:
        """Begin an episode; simulated time then waits for the first command as well."""
        super()._start(episode)
        if self.guard.episode:
            self._lockstep.on_command(self.world.time_ns)

    def _end(self, episode: str) -> None:
        """End an episode; simulated time no longer waits for commands."""
        super()._end(episode)
        self._lockstep.expect_no_command()

    def _execute(self, request: EefCommand) -> None:
        """Execute a command, in an episode with the noise of the arm."""
        action = np.asarray(request.action)
        if self._noise > 0 and self.guard.episode and np.isfinite(action).all():
            request.action = self._disturbance(action)

        super()._execute(request)

        if self.guard.episode and not self.guard.holding:
            image_ns = to_ns(request.observation_stamp) or self.world.time_ns
            self._lockstep.on_command(image_ns)

    def _hold(self, reason: Refusal) -> str:
        self._lockstep.expect_no_command()
        return super()._hold(reason)

    def _publish_world(self) -> None:
        """Publish the state of the world, from which the cameras render their images."""
        message = JointState(position=self.world.state().tolist())
        message.header.stamp = to_stamp(self.now_ns())
        message.header.frame_id = self.world.family
        self._world_publisher.publish(message)
        self._lockstep.on_state(to_ns(message.header.stamp))

    def _reset(self, task: str, seed: int) -> str:
        """Set up the scene of a task and seed; return its description."""
        self.world.reset(sample_layout(task, seed))
        self._disturbance = Disturbance(np.random.default_rng(seed), self._noise)
        self.controller.reset()
        return f"{task}, seed {seed}"

    def _outcome(self) -> str:
        """Serve `sim/outcome`: succeed if the task is solved."""
        if not self.world.success():
            raise PtrError("not solved")
        return "solved"

    def health(self) -> Health:
        """Return the arm's entry of /diagnostics, with the real-time factor since the last one."""
        health = super().health()
        last_real, last_ns = self._measured
        real, simulated_ns = time.monotonic(), self.world.time_ns
        self._measured = (real, simulated_ns)

        factor = (simulated_ns - last_ns) * 1e-9 / max(real - last_real, 1e-9)
        values = {
            **health.values,
            "real_time_factor": f"{factor:.2f}",
            "wanted": f"{self._factor:.2f}",
        }
        return Health(health.level, health.message, values)


def _simulator(node: ArmNode) -> tuple[Arm, EefController]:
    """Return the simulated arm of a node and its controller: the device `simulator`."""
    assert isinstance(node, SimulationNode)
    arm = SimulatedArm(node.world)
    return arm, EefController(arm, Kinematics(), node.limits)


def main() -> int:
    """Run the simulation."""
    return run(SimulationNode)


if __name__ == "__main__":
    sys.exit(main())
