"""The arm on the ROS graph: executes commands, publishes its state, holds at a fault.

A lifecycle node, the same for the simulated and the real arm; only the `Arm` differs. The
configured node is connected and publishes the arm's state; the active node takes commands.
No transition moves the arm.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, JointState

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME
from ptr_common.errors import PtrError
from ptr_common.managed_node import (
    Health,
    end_limit,
    now_ns,
    parameter,
    run,
    subscribe,
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
    robot_frame,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_msgs.srv import GoToPose

from .controller import ArmSnapshot, EefController
from .device_node import DeviceNode
from .device_thread import DeviceThread
from .kinematics import Kinematics
from .messages import executed_message, joint_state_message, state_message
from .motions import ArmMotions
from .parameters import declare_guard, declare_limits
from .protocol import Arm, ArmError
from .refusal import Kind, Refusal, StepResult

STATE_RATE = 20.0
"""Rate of arm/state and joint_states [Hz]."""

WATCH_PERIOD = 0.02
"""Time from one look at the device to the next [s]; it is regulated in each."""


class ArmNode(DeviceNode):
    """ROS side of one arm.

    All work on the device and the guard happens in the device thread: callbacks hand it
    jobs, so that every field of the guard and of the motions has one writer.
    """

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
        self.guard = declare_guard(self)
        self.limits = declare_limits(self)
        self.simulated_time = bool(self.get_parameter("use_sim_time").value)
        frame = robot_frame(self.get_namespace(), BASE_FRAME)
        self._frame = parameter(self, "base_frame", frame, "frame of poses and commands")
        self._camera = parameter(
            self, "camera", "over_shoulder", "camera without whose images the arm holds"
        )
        names = ", ".join(devices)
        device = parameter(self, "device", next(iter(devices)), f"kind of arm: {names}")
        if device not in devices:
            raise ArmError(
                f"device {device!r} is no kind of arm of {name}; there are: {names}. "
                "The real arm is driven by `arm_node`, a simulated one by `simulation`"
            )
        self._make_device = devices[device]
        self.arm: Arm  # these three, and the device thread, from `configure` on
        self.controller: EefController
        self.motions: ArmMotions
        self._fault = ""  # this and the snapshot belong to the device thread
        self._snapshot: ArmSnapshot | None = None
        self._pending: Future | None = None  # the last job of the timer
        self._joints: Publisher | None = None  # None if the arm's driver publishes them
        self.publish_health(f"wx250s {device}")

    # --- life cycle -------------------------------------------------------------------------

    def configure(self) -> None:
        """Connect the arm, hold it, and offer the topics and services.

        Raises:
            ArmError: If the arm does not answer or reports a fault.
        """
        self.arm, self.controller = self._make_device(self)
        try:
            self.arm.connect()
        except BaseException:
            # Ctrl-C as well: the thread of a connection must not outlive Python.
            self.arm.disconnect()
            raise
        self.motions = ArmMotions(self.controller, self.guard, WATCH_PERIOD)
        self.device = self.make_thread()
        self.device.submit(self._reset_state)  # runs before every other job and tick
        self._pending = None
        self._create_interfaces()
        self.device.start()

    def _reset_state(self) -> None:
        self._fault = ""
        self._snapshot = None
        self.guard.reset()
        self.controller.reset()

    def activate(self) -> None:
        """Take commands, unless the arm holds for another reason than an inactive node."""
        self.wait(self.device.submit(self.guard.activate))

    def deactivate(self) -> None:
        """Hold; the arm stays held until it is enabled after the node is active again."""
        reason = Refusal(Kind.DEACTIVATED, "deactivated")
        self.wait(self.device.submit(lambda: self._hold(reason)))

    def cleanup(self) -> None:
        """Disconnect; the arm stays where it is, held by its driver."""
        self.device.stop()
        self.arm.disconnect()

    def destroy_node(self) -> None:
        """Bring an active arm to rest, stop the device thread and disconnect."""
        if self.active:
            with end_limit.paused():
                self._rest()
        super().destroy_node()

    def make_thread(self) -> DeviceThread:
        """Return the thread that works on the device, not yet started."""
        return DeviceThread(self.watch, WATCH_PERIOD)

    def _create_interfaces(self) -> None:
        self._state = self.create_publisher(ArmState, TOPIC_ARM_STATE, qos.STATE)
        if not self.arm.features.publishes_joints:
            self._joints = self.create_publisher(JointState, TOPIC_JOINT_STATES, qos.STATE)
        self._executed = self.create_publisher(EefCommand, TOPIC_EXECUTED, qos.COMMANDS)
        subscribe(
            self,
            EefCommand,
            TOPIC_COMMAND,
            self._on_command,
            qos.COMMANDS,
            on_malformed=self._on_malformed_command,
        )
        subscribe(self, EpisodeEvent, TOPIC_EPISODE_EVENT, self._on_event, qos.EVENTS)
        topic = camera_info_topic(self._camera)
        subscribe(self, CameraInfo, topic, self._on_image, qos.IMAGES)
        self.serve("arm/hold", self._hold_for_operator)
        self.serve("arm/enable", self._enable)
        self.serve("arm/go_to_start", self.motions.go_to_start)
        self.answer(GoToPose, "arm/go_to_pose", lambda to: self.motions.go_to_pose(to.pose))
        if self.arm.features.sleep is not None:
            self.serve("arm/go_to_sleep", self.motions.go_to_sleep)
        self.start_states()

    def start_states(self) -> None:
        """Publish states at `STATE_RATE` from now on."""
        self.create_timer(1.0 / STATE_RATE, self._on_timer)

    def _rest(self) -> None:
        """Bring the arm to its sleep pose, unless it holds: then it must not move."""
        if self.arm.features.sleep is None or self.device.error is not None:
            return
        reason = Refusal(Kind.OPERATOR, "stopped on its way to the sleep pose (Ctrl-C)")
        log = self.get_logger()
        try:
            self.motions.rest(self.device, lambda: self._hold(reason), log.info)
        except ArmError as error:
            log.error(
                f"not in the sleep pose ({error}): support the arm before you end its driver"
            )

    def now_ns(self) -> int:
        """Return the time on the clock that stamps commands and states [ns]."""
        return now_ns(self)

    def device_stamp_ns(self, stamp_ns: int) -> int:
        """Return a stamp of the device on the clock of `now_ns` [ns]."""
        return stamp_ns

    # --- callbacks: they only hand jobs to the device thread --------------------------------

    def _on_command(self, message: EefCommand) -> None:
        self.submit(lambda: self._execute(message))

    def _on_malformed_command(self, error: str) -> None:
        reason = Refusal(Kind.MALFORMED, f"a command is malformed: {error}")
        self.submit(lambda: self._refuse(self.guard.refuse(reason)))

    def _on_event(self, event: EpisodeEvent) -> None:
        job = self._start if event.event == EpisodeEvent.START else self._end
        self.submit(lambda: job(event.episode_id))

    def _on_image(self, message: CameraInfo) -> None:
        self.submit(lambda: self.note_image(to_ns(message.header.stamp)))

    def _on_timer(self) -> None:
        if self._pending is None or self._pending.done():  # one state at a time
            self._pending = self.submit(self.publish_state)

    # --- jobs: they run in the device thread ------------------------------------------------

    def note_image(self, stamp_ns: int) -> None:
        """Note that an image of the camera was published, with this stamp [ns]."""
        self.guard.on_image(stamp_ns, self.now_ns())

    def _start(self, episode: str) -> None:
        """Begin an episode from the measured pose, once the arm is ready to move."""
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
        """Carry out a command as far as guard and limits allow, and publish what was done."""
        self._check_publishers()
        action = np.asarray(request.action, dtype=np.float64)
        refusal = self.guard.check(action, to_ns(request.header.stamp), self.now_ns())
        if refusal is not None:
            self._refuse(refusal)
            return
        try:
            result = self.controller.execute(action)
        except ArmError as error:
            self._fail(error)
            return
        self.guard.count(result)
        self._log_limits(result)
        answer = executed_message(request, result.executed)
        answer.header.stamp = to_stamp(self.now_ns())
        answer.header.frame_id = self._frame
        self._executed.publish(answer)

    def _refuse(self, refusal: Refusal) -> None:
        """Log why a command is not executed, and hold if its sender cannot be trusted."""
        self.get_logger().warning(f"rejected: {refusal.text}", throttle_duration_sec=1.0)
        if refusal.kind in (Kind.NOT_FINITE, Kind.MALFORMED):  # the next may be as wrong
            self._hold(refusal)

    def _log_limits(self, result: StepResult) -> None:
        if result.rejected or result.clipped:
            verb = "rejected" if result.rejected else "clipped"
            self.get_logger().info(f"{verb}: {result.reason}", throttle_duration_sec=1.0)

    def watch(self) -> None:
        """Hold at a timeout of commands or images, at a jump of the clock, and at a fault."""
        now = self.now_ns()
        if not self.simulated_time:
            self._hold_if(self.guard.check_clock(now, time.monotonic_ns()))
        self._hold_if(self.guard.check_command_timeout(now))
        self._hold_if(self.guard.check_image_timeout(now))
        try:
            self.arm.watch()
            self._fault = ""
            self.motions.advance()
        except ArmError as error:
            self._fail(error)

    def publish_state(self) -> None:
        """Publish the state; where the arm does not answer, the last one with its old stamp."""
        self._check_publishers()
        try:
            self._snapshot = self.controller.state()
        except ArmError as error:
            self._fail(error)
        if self._snapshot is None:
            return
        state = state_message(self._snapshot, self.guard, self._fault)
        state.header.stamp = to_stamp(self.device_stamp_ns(self._snapshot.stamp_ns))
        state.header.frame_id = self._frame
        self._state.publish(state)
        if self._joints is not None:
            self._joints.publish(joint_state_message(state))

    def _check_publishers(self) -> None:
        """Hold if several nodes send commands."""
        if self.count_publishers(TOPIC_COMMAND) <= 1 or self.guard.holding:
            return
        senders = self.get_publishers_info_by_topic(TOPIC_COMMAND)
        names = [f"{one.node_namespace.rstrip('/')}/{one.node_name}" for one in senders]
        if len(names) > 1:
            text = f"{len(names)} nodes publish {TOPIC_COMMAND}: {', '.join(sorted(names))}"
            self._hold(Refusal(Kind.TWO_SENDERS, f"{text}; stop all but one"))

    def _hold(self, reason: Refusal) -> str:
        """Hold the measured position, also if the arm holds already; return why it holds."""
        if self.guard.hold(reason):
            self.get_logger().error(f"holding: {reason.text}")
        self.arm.hold()
        return f"holding: {self.guard.reason}"

    def _hold_if(self, reason: Refusal | None) -> None:
        if reason is not None:
            self._hold(reason)

    def _hold_for_operator(self) -> str:
        return self._hold(Refusal(Kind.OPERATOR, "stopped by the operator (arm/hold)"))

    def _fail(self, error: ArmError) -> None:
        """Hold because of a fault, unless the arm holds already."""
        self._fault = str(error)
        if self.guard.hold(Refusal(Kind.FAULT, f"fault: {error}")):
            self.get_logger().error(f"holding after a fault: {error}")
            self.arm.hold()

    def _enable(self) -> str:
        """End a hold once the arm is ready to move."""
        if not self.active:
            name = self.get_fully_qualified_name()
            raise ArmError(f"the node is not active: ros2 lifecycle set {name} activate")
        self.arm.prepare()
        self.guard.enable()
        self.controller.reset()
        return "enabled"

    # --- diagnostics ------------------------------------------------------------------------

    def health(self) -> Health:
        """Return the entry of /diagnostics.

        Raises:
            PtrError: If the device thread has ended; the node must not seem well without
                it.
        """
        if self.device.error is not None:
            raise PtrError(
                f"device thread ended: {self.device.error}"
            ) from self.device.error
        counts = {**self.guard.values(), **self.arm.notes}
        if self._fault:
            return Health(DiagnosticStatus.ERROR, self._fault, counts)
        if self.guard.holding:
            return Health(DiagnosticStatus.WARN, f"holding: {self.guard.reason}", counts)
        return Health(values=counts)


Device = Callable[[ArmNode], tuple[Arm, EefController]]
"""Makes an arm, not yet connected, and its controller within the node's limits."""


def _interbotix(node: ArmNode) -> tuple[Arm, EefController]:
    try:
        from widowx_bringup.arm.interbotix.arm import WidowXArm
        from widowx_bringup.arm.interbotix.connection import XsConnection
    except ImportError as error:
        raise ArmError(
            f"Interbotix's packages are not installed here ({error}); see docs/robot.md"
        ) from error
    arm = WidowXArm(XsConnection(node.get_namespace()), node.limits, lambda: now_ns(node))
    return arm, EefController(arm, Kinematics(), node.limits)


DEVICES: dict[str, Device] = {"interbotix": _interbotix}
"""Kinds of real arm; another one needs a function here. The simulated arm is in sim/node.py."""


def main() -> int:
    """Run the arm node over a real arm."""
    return run(lambda: ArmNode("arm_node", DEVICES))


if __name__ == "__main__":
    sys.exit(main())
