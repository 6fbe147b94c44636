"""The arm on the ROS graph: executes commands, publishes its state, holds when something is wrong.

A lifecycle node, the same for the simulated and the real arm; only the `Arm` differs.
Configured, it is connected and publishes the arm's state; active, it takes commands. No
transition moves the arm.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TimedOut  # its own before Python 3.11
from types import FrameType
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.publisher import Publisher
from rclpy.task import Future as RosFuture
from sensor_msgs.msg import CameraInfo, JointState
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_common.managed_node import (
    Health,
    ManagedNode,
    now_ns,
    parameter,
    run,
    to_ns,
    to_stamp,
)
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_JOINT_STATES,
    camera_info_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent

from .controller import ArmSnapshot, EefController
from .device_thread import DeviceThread
from .guard import CommandGuard
from .joint_path import JointPath
from .kinematics import Kinematics, pose_from_proprio
from .limits import Limits, gate_joints
from .messages import joint_state_message, pose_message
from .protocol import Arm, ArmError, JointTarget

STATE_RATE = 20.0
"""Rate of arm/state and joint_states [Hz]."""

WATCH_PERIOD = 0.02
"""The device is watched and regulated this often [s]."""

START_POSE = (0.30, 0.0, 0.15, 0.0, 0.0, 0.0)
"""Where `arm/go_to_start` brings the gripper, open: x, y, z [m], roll, pitch, yaw [rad]; BridgeData's start."""

SLEEP_LIMIT = 20.0
"""Longest time that going to the sleep pose may take at the end [s]."""

ANSWER_LIMIT = 5.0
"""Longest time that the device may take for a transition [s]."""

STOPPABLE_AFTER = 1.0
"""A Ctrl-C later than this [s] after the end has begun stops the arm."""

INACTIVE = "not active"
"""Why an arm holds whose node has been configured and not yet activated."""

PAUSES = (0.05, 2.0)
"""Ages and pauses [s] that may be chosen for the watchdogs: none of them switches one off."""


class ArmNode(ManagedNode):
    """ROS side of one arm. All device work and all of the guard happen in the device thread."""

    def __init__(self, name: str, devices: Mapping[str, Device], **options: Any) -> None:
        """Declare the parameters; nothing is connected yet.

        Args:
            name: Default node name.
            devices: Kinds of arm to choose from; the first one is the default.
            options: Passed on to `rclpy.lifecycle.LifecycleNode`.

        Raises:
            PtrError: If a parameter has an impossible value.
        """
        super().__init__(name, **options)
        period = 1.0 / CONTROL_RATE
        self.guard = CommandGuard(
            max_age=parameter(
                self, "max_command_age", period, "oldest command executed [s]", PAUSES
            ),
            max_silence=parameter(
                self,
                "max_command_silence",
                1.8 * period,
                "longest pause in an episode [s]",
                PAUSES,
            ),
            max_blindness=parameter(
                self, "max_image_age", 1.8 * period, "oldest newest picture [s]", PAUSES
            ),
            resume_on_start=parameter(
                self,
                "resume_on_start",
                False,
                "whether the START of an episode ends a hold",
            ),
        )
        free = Limits()
        self.limits = Limits(
            np.asarray(
                parameter(
                    self,
                    "workspace_low",
                    free.workspace_low.tolist(),
                    "lowest x, y, z of the gripper [m]",
                )
            ),
            np.asarray(
                parameter(
                    self,
                    "workspace_high",
                    free.workspace_high.tolist(),
                    "highest x, y, z [m]",
                )
            ),
        )
        self.simulated_time = bool(self.get_parameter("use_sim_time").value)
        self._frame = parameter(
            self, "base_frame", BASE_FRAME, "frame of poses and commands"
        )
        self._camera = parameter(
            self, "camera", "over_shoulder", "camera that the arm does not move without"
        )
        device = parameter(
            self, "device", next(iter(devices)), f"kind of arm: {', '.join(devices)}"
        )
        if device not in devices:
            raise ArmError(
                f"device {device!r} is no kind of arm of {name}; there are: {', '.join(devices)}. "
                "The real arm is driven by `arm_node`, a simulated one by `simulation`"
            )
        self._make_device = devices[device]
        self.arm: Arm  # these three once configured
        self.controller: EefController
        self.device: DeviceThread
        self._fault = ""
        self._way: JointPath | None = None  # where the arm is on its way by itself
        self._way_gripper = 1.0
        self._pending: Future | None = None
        self._joints: Publisher | None = None  # unless the arm's own driver publishes them
        self._snapshot: ArmSnapshot | None = None
        self.publish_health(f"wx250s {device}")

    # --- life cycle -----------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Connect the arm and offer it, holding.

        Raises:
            ArmError: If the arm does not answer or reports a fault.
        """
        self._fault, self._pending, self._snapshot, self._joints, self._way = (
            "",
            None,
            None,
            None,
            None,
        )
        self.arm, self.controller = self._make_device(self)
        try:
            self.arm.connect()
        except ArmError:
            self.arm.disconnect()
            raise
        self.guard.reason, self.guard.busy, self.guard.episode = INACTIVE, "", ""
        self.controller.reset()
        self._create_interfaces()
        self.device = self.make_thread()
        self.device.start()

    def activate(self) -> None:
        """Take commands, unless the arm holds for another reason than that the node was not active."""
        self._do(lambda: self.guard.enable() if self.guard.reason == INACTIVE else None)

    def deactivate(self) -> None:
        """Hold; the arm stays held until it is enabled once the node is active again."""
        self._do(lambda: self._hold("deactivated", "deactivated"))

    def cleanup(self) -> None:
        """Let go of the arm where it is; its driver keeps holding it."""
        self.device.stop()
        self.arm.disconnect()

    def destroy_node(self) -> None:
        """Bring an active arm to rest, stop the device thread and let go of the arm."""
        if self.active:
            self._rest()
        super().destroy_node()

    def _do(self, job: Callable[[], object]) -> None:
        """Do a short job in the device thread and wait for it."""
        try:
            self.device.submit(job).result(timeout=ANSWER_LIMIT)
        except TimedOut:
            raise ArmError(f"the device has not answered for {ANSWER_LIMIT:g} s") from None

    def make_thread(self) -> DeviceThread:
        """Return the thread that works on the device, not yet started."""
        return DeviceThread(self.watch, WATCH_PERIOD)

    def _create_interfaces(self) -> None:
        self._state = self.create_publisher(ArmState, TOPIC_ARM_STATE, qos.STATE)
        if not self.arm.features.publishes_joints:
            self._joints = self.create_publisher(JointState, TOPIC_JOINT_STATES, qos.STATE)
        self._executed = self.create_publisher(EefCommand, TOPIC_EXECUTED, qos.COMMANDS)
        self.create_subscription(EefCommand, TOPIC_COMMAND, self._on_command, qos.COMMANDS)
        self.create_subscription(
            EpisodeEvent, TOPIC_EPISODE_EVENT, self._on_event, qos.EVENTS
        )
        self.create_subscription(
            CameraInfo, camera_info_topic(self._camera), self.on_picture, qos.IMAGES
        )
        self.serve(
            "arm/hold", lambda: self._hold("stopped by the operator (arm/hold)", "operator")
        )
        self.serve("arm/enable", self._enable)
        self.serve("arm/go_to_start", self._go_to_start)
        if self.arm.features.sleep is not None:
            self.serve("arm/go_to_sleep", self._go_to_sleep)
        self.create_timer(1.0 / STATE_RATE, self._on_tick)

    def _rest(self) -> None:
        """Go to the sleep pose, unless the arm holds: then whoever made it hold has a reason that it shall not move.

        Ctrl-C makes it hold on its way; not at once, because `ros2 launch` passes on the
        one that ended the node.
        """
        if self.arm.features.sleep is None or self.device.error is not None:
            return
        began, hold = (
            time.monotonic(),
            lambda: self._hold("stopped on its way to the sleep pose (Ctrl-C)", "operator"),
        )

        def stop(number: int, frame: FrameType | None) -> None:
            if time.monotonic() - began > STOPPABLE_AFTER:
                self.device.submit(hold)

        before = signal.signal(signal.SIGINT, stop)
        try:
            self.device.submit(self._go_to_sleep).result(timeout=SLEEP_LIMIT)
            self.get_logger().info("going to the sleep pose; Ctrl-C stops it")
            while self.guard.busy and time.monotonic() < began + SLEEP_LIMIT:
                time.sleep(0.02)
            problem = self.guard.reason or self.guard.busy
        except (ArmError, TimedOut) as error:
            problem = str(error) or "the device does not answer"
        finally:
            signal.signal(signal.SIGINT, before)
        if problem:
            self.get_logger().error(
                f"not in the sleep pose ({problem}): support the arm before you end its driver"
            )

    def now_ns(self) -> int:
        """Return the time on the clock that stamps commands and states."""
        return now_ns(self)

    def device_stamp_ns(self, stamp_ns: int) -> int:
        """Return a stamp of the device on the clock of `now_ns`."""
        return stamp_ns

    # --- callbacks: they only hand jobs to the device thread ------------------------------------------------

    def serve(self, name: str, job: Callable[[], str]) -> None:
        """Offer a Trigger service that does `job` in the device thread and answers with the text it returns."""

        async def answer(
            _: Trigger.Request, response: Trigger.Response
        ) -> Trigger.Response:
            response.success, response.message = await self.ask(job)
            return response

        self.create_service(Trigger, name, answer)

    async def ask(self, job: Callable[[], str]) -> tuple[bool, str]:
        """Do a job in the device thread without blocking the executor; return success and what to tell."""
        done = RosFuture()

        def finish(future: Future) -> None:
            done.set_result(None)
            if self.executor is not None:
                self.executor.wake()

        work = self.device.submit(job)
        work.add_done_callback(finish)
        await done
        try:
            return True, work.result()
        except PtrError as error:
            return False, str(error)

    def _on_command(self, message: EefCommand) -> None:
        self._submit(lambda: self._execute(message))

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.START:
            self._submit(lambda: self._start(event.episode_id))
        else:
            self._submit(lambda: self._end(event.episode_id))

    def on_picture(self, picture: CameraInfo) -> None:
        """Take note of a picture of the camera."""
        self.guard.pictured(to_ns(picture.header.stamp))

    def _on_tick(self) -> None:
        if (
            self._pending is None or self._pending.done()
        ):  # a slow device gets no second tick on top
            self._pending = self._submit(self._step)

    def _submit(self, job: Callable[[], object]) -> Future:
        future = self.device.submit(job)
        future.add_done_callback(self._report)
        return future

    def _report(self, future: Future) -> None:
        if (
            error := future.exception()
        ) is not None and self.context.ok():  # else it published during the shutdown
            self.get_logger().error(f"{type(error).__name__}: {error}")

    # --- jobs: they run in the device thread ----------------------------------------------------------------

    def _start(self, episode: str) -> None:
        if not self.active:
            return
        self.guard.start(episode)
        if self.guard.holding:
            return
        try:
            self.arm.prepare()
        except ArmError as error:
            self._fail(error)
        self.controller.reset()

    def _end(self, episode: str) -> None:
        self.guard.end(episode)

    def _execute(self, request: EefCommand) -> None:
        self._check_publishers()
        action = np.asarray(request.action, dtype=np.float64)
        refusal = self.guard.check(action, to_ns(request.header.stamp), self.now_ns())
        if refusal:
            self.get_logger().warning(f"rejected: {refusal}", throttle_duration_sec=1.0)
            if not np.isfinite(
                action
            ).all():  # whoever computes NaN once is not to be trusted with the next step
                self._hold(refusal, "not finite")
            return
        try:
            execution = self.controller.execute(action)
        except ArmError as error:
            self._fail(error)
            return
        self.guard.judge(execution.clipped, execution.rejected, execution.reason)
        if execution.reason:
            verdict = "rejected" if execution.rejected else "clipped"
            self.get_logger().info(
                f"{verdict}: {execution.reason}", throttle_duration_sec=1.0
            )
        self._publish_executed(request, execution.executed)

    def _publish_executed(self, request: EefCommand, executed: np.ndarray) -> None:
        message = EefCommand(
            observation_stamp=request.observation_stamp,
            source=request.source,
            action=executed,
        )
        message.header.stamp = to_stamp(self.now_ns())
        message.header.frame_id = self._frame
        self._executed.publish(message)

    def watch(self) -> None:
        """Hold if nobody commands the arm any more, nobody sees it, or something is wrong with it."""
        now = self.now_ns()
        if not self.simulated_time and (
            jump := self.guard.clock_jump(now, time.monotonic_ns())
        ):
            self._hold(jump, "clock")
        if reason := self.guard.silence(now):
            self._hold(reason, "silence")
        if reason := self.guard.blindness(now):
            self._hold(reason, "camera")
        try:
            self.arm.watch()
            self._fault = ""
            self._move_on()
        except ArmError as error:
            self._fail(error)

    def _step(self) -> None:
        self._check_publishers()
        try:
            self._snapshot = self.controller.state()
        except ArmError as error:
            self._fail(error)
        if self._snapshot is not None:
            self._publish_state(self._snapshot)

    def _check_publishers(self) -> None:
        if self.count_publishers(TOPIC_COMMAND) <= 1 or self.guard.holding:
            return
        senders = self.get_publishers_info_by_topic(TOPIC_COMMAND)
        names = sorted(
            f"{sender.node_namespace.rstrip('/')}/{sender.node_name}" for sender in senders
        )
        if len(names) > 1:
            self._hold(
                f"{len(names)} nodes publish {TOPIC_COMMAND}: {', '.join(names)}; stop all but one",
                "two senders",
            )

    def _hold(self, reason: str, kind: str) -> str:
        if self.guard.hold(reason, kind):
            self.get_logger().error(f"holding: {reason}")
        self.arm.hold()
        return f"holding: {self.guard.reason}"

    def _fail(self, error: ArmError) -> None:
        self._fault = str(error)
        if self.guard.hold(f"fault: {error}", "fault"):
            self.get_logger().error(f"holding after a fault: {error}")
            self.arm.hold()

    def _enable(self) -> str:
        if not self.active:
            raise ArmError(
                f"the node is not active: ros2 lifecycle set {self.get_fully_qualified_name()} activate"
            )
        self.arm.prepare()
        self.guard.enable()
        self.controller.reset()
        return "enabled"

    def _go_to_start(self) -> str:
        solution = self.controller.kinematics.inverse(
            pose_from_proprio(np.asarray(START_POSE)), self.controller.state().joints
        )
        if not solution.success:
            raise ArmError(f"no joints within the limits reach the start pose {START_POSE}")
        return self._set_out(solution.joints, 1.0, "moving to its start pose")

    def _go_to_sleep(self) -> str:
        assert self.arm.features.sleep is not None
        return self._set_out(self.arm.features.sleep, None, "moving to its sleep pose")

    def _set_out(self, goal: np.ndarray, gripper: float | None, what: str) -> str:
        """Begin a way of the arm's own, the gripper opened so far (None: as it is); meanwhile commands are refused."""
        if self.guard.holding:
            raise ArmError(f"arm is holding: {self.guard.reason}; call arm/enable first")
        reading = self.arm.read()
        self._way = JointPath(reading.positions, goal, WATCH_PERIOD)
        self._way_gripper = (
            float(np.clip(reading.gripper, 0.0, 1.0)) if gripper is None else gripper
        )
        self.guard.busy = what
        return what

    def _move_on(self) -> None:
        """Take the next part of the arm's own way; every part passes the gate."""
        if not self.guard.busy or self._way is None:  # or a hold has ended it
            return
        measured = self.arm.read().positions
        wanted = self._way.advance(measured)
        if self._way.ended:
            self.guard.busy = ""
            self.controller.reset()
        elif wanted is not None:
            target = gate_joints(wanted, measured, self.controller.limits)
            if target.positions is None:
                raise ArmError(target.reason)
            self.arm.send(JointTarget(target.positions, self._way_gripper))

    def _publish_state(self, snapshot: ArmSnapshot) -> None:
        state = ArmState(
            joint_positions=snapshot.joints,
            joint_velocities=snapshot.velocities,
            eef_pose=pose_message(snapshot.T_base_eef),
            proprio=snapshot.proprio,
            status=self._status(),
            reason=self._fault or self.guard.reason or self.guard.busy,
            clipped=self.guard.clipped,
            held=self.guard.held,
            rejected=self.guard.rejected,
        )
        state.header.stamp = to_stamp(self.device_stamp_ns(snapshot.stamp_ns))
        state.header.frame_id = self._frame
        self._state.publish(state)
        if self._joints is not None:
            self._joints.publish(joint_state_message(state))

    def _status(self) -> int:
        if self._fault:
            return ArmState.STATUS_FAULT
        return ArmState.STATUS_HOLDING if self.guard.holding else ArmState.STATUS_OK

    def health(self) -> Health:
        """Return the entry of /diagnostics.

        Raises:
            PtrError: If the device thread has ended; the node must not seem to be well
            without it.
        """
        if self.device.error is not None:
            raise PtrError(
                f"device thread ended: {self.device.error}"
            ) from self.device.error
        guard = self.guard
        totals = {"clipped": guard.clipped, "held": guard.held, "rejected": guard.rejected}
        counts = {**totals, **guard.kinds, **self.arm.notes}
        if self._fault:
            return Health(DiagnosticStatus.ERROR, self._fault, counts)
        if guard.holding:
            return Health(DiagnosticStatus.WARN, f"holding: {guard.reason}", counts)
        return Health(values=counts)


Device = Callable[[ArmNode], tuple[Arm, EefController]]
"""Makes an arm, not yet connected, and its controller within the node's limits."""


def _interbotix(node: ArmNode) -> tuple[Arm, EefController]:
    try:
        from widowx_bringup.arm.interbotix.arm import WidowXArm
        from widowx_bringup.arm.interbotix.connection import XsConnection
    except ImportError as error:
        raise ArmError(
            f"Interbotix's packages are not installed here ({error}); docs/robot.md says how"
        ) from error
    arm = WidowXArm(XsConnection(node.get_namespace()), node.limits, lambda: now_ns(node))
    return arm, EefController(arm, Kinematics(), node.limits)


DEVICES: dict[str, Device] = {"interbotix": _interbotix}
"""Kinds of real arm; another one needs a function here and nothing else. The simulated arm is in simulation.py."""


def main() -> int:
    """Run the arm node over a real arm."""
    return run(lambda: ArmNode("arm_node", DEVICES))


if __name__ == "__main__":
    sys.exit(main())
