"""The ROS node of the policy: images and arm states in, one command per control step out.

It is a lifecycle node. It loads and checks its bundle when it is configured; PyTorch is not
imported before. It commands only while it is active, an episode runs, and image and arm state
are fresh.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, CONTROL_RATE
from ptr_common.cdr import stamp_of
from ptr_common.errors import PtrError
from ptr_common.images import RawImage
from ptr_common.managed_node import (
    Health,
    ManagedNode,
    MessageError,
    now_ns,
    run,
    subscribe,
    to_ns,
    to_stamp,
)
from ptr_common.process.priority import lower_priority
from ptr_common.stamps import early_problem
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    TOPIC_POLICY_STATE,
    image_topic,
    robot_frame,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState

from .observation import ArmObservation, ObservationBuffer, StepSchedule
from .parameters import declare_parameters
from .q_band import QWatch
from .served.link import NoActionError

if TYPE_CHECKING:
    from .policy import Policy, PolicyOutput


class PolicyNode(ManagedNode):
    """ROS wiring of one policy.

    Args:
        name: Node name.
        options: Passed on to `ManagedNode`.

    Attributes:
        state_topic: Where the states of the policy are published.
    """

    state_topic = TOPIC_POLICY_STATE

    def __init__(self, name: str = "policy_node", **options: Any) -> None:
        super().__init__(name, **options)
        declare_parameters(self)
        self._observations: ObservationBuffer  # made by `configure`
        self._schedule = StepSchedule(CONTROL_RATE)
        self._policy: Policy | None = None
        self._episode = ""  # id; empty while idle
        self._task = ""
        self._refusal = ""  # why the running episode cannot be acted on
        self._stop = ""  # why it is not gone on with
        self._acted = 0  # actions of the running episode
        self._reported_ns = 0  # time of the latest policy state
        self._last = PolicyState()
        self._q_future: Future[None] | None = None  # the step whose Q values are computed
        self._critics = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="critic", initializer=lower_priority
        )
        self.publish_health("policy")

    # --- life cycle ---

    def configure(self) -> None:
        """Load and check the bundle.

        Raises:
            PtrError: If the bundle is refused, the camera latency is too large for
                max_image_age, or a server may answer later than the next control step; the
                message says why.
        """
        from .bundle import CameraSpec
        from .policy import load_bundle

        self._observations = ObservationBuffer(
            max_image_age=self.value("max_image_age"),
            max_state_age=self.value("max_state_age"),
            camera_latency=self.value("camera_latency"),
        )
        policy = load_bundle(
            Path(self.value("bundle")),
            camera=CameraSpec(
                self.value("camera"), self.value("width"), self.value("height")
            ),
            rate=CONTROL_RATE,
            threads=self.value("threads"),
            backend=self.value("backend"),
            precision=self.value("precision"),
            expected=self.value("bundle_sha256"),
            key=Path(key) if (key := self.value("policy_key")) else None,
        )
        if policy.server is not None:
            policy.server.check_deadline(1.0 / CONTROL_RATE)
        if task := self.value("task"):
            policy.task_id(task)
        self._policy = policy
        self._refusal = self._stop = ""
        self._watch = QWatch(policy.info.q_band, self._q_patience(policy))
        self._connect()
        self.get_logger().info(
            f"bundle {policy.sha256}: {policy.info.agent}, checked; runs by {policy.backend}"
        )
        for what in policy.lacks:
            self.get_logger().info(f"the bundle says no {what}: NaN in {self.state_topic}")

    def _q_patience(self, policy: Policy) -> int:
        """Return after how many steps below the band of Q the policy stops; 0: never.

        Raises:
            PtrError: If it is to stop and the bundle has no band.
        """
        steps: int = self.value("q_hold_steps")
        if steps and policy.info.q_band is None:
            raise PtrError(
                f"q_hold_steps is {steps}, and bundle {policy.bundle_id} has no band of Q: make "
                "it again with `ptr bundle` where its held-out demonstrations are, or set 0"
            )
        return steps

    def _connect(self) -> None:
        self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
        self.connect_inputs(qos.NEWEST_IMAGE)

    def connect_inputs(self, images: QoSProfile) -> None:
        """Publish states, and subscribe to what the policy acts on.

        Args:
            images: Quality of service of the subscription to the images.
        """
        self._states = self.create_publisher(PolicyState, self.state_topic, qos.STATE)
        subscribe(self, ArmState, TOPIC_ARM_STATE, self._on_arm, qos.STATE)
        subscribe(self, EpisodeEvent, TOPIC_EPISODE_EVENT, self._on_event, qos.EVENTS)
        topic = image_topic(self.value("camera"))
        subscribe(self, Image, topic, self._on_image, images, decode=_stamped_image)
        self.create_timer(1.0 / CONTROL_RATE, self._on_tick)

    def deactivate(self) -> None:
        """Stop publishing; a running episode is not resumed."""
        self._episode = ""

    def cleanup(self) -> None:
        """Unload the bundle."""
        # The last Q values are published before their publisher is destroyed.
        self._critics.submit(bool).result()
        if self._policy is not None and self._policy.server is not None:
            self._policy.server.close()
        self._policy = None

    def destroy_node(self) -> None:
        """Wait until the last Q values are computed."""
        super().destroy_node()
        self._critics.shutdown()

    # --- callbacks ---

    def _on_event(self, event: EpisodeEvent) -> None:
        if not self.active:
            return
        if event.event == EpisodeEvent.START:
            self._start_episode(event)
        elif event.episode_id == self._episode:
            self._episode = ""

    def _start_episode(self, event: EpisodeEvent) -> None:
        assert self._policy is not None
        self._episode = event.episode_id
        self._task = event.task or self.value("task")
        now = now_ns(self)
        start_ns = to_ns(event.header.stamp)
        self._reported_ns = min(start_ns, now)
        self._observations.start(start_ns)
        self._schedule.restart()
        self._policy.reset()
        self._watch.start()
        self._stop, self._acted = "", 0
        try:
            self._policy.task_id(self._task)
            if early := early_problem("START of the episode", start_ns, now):
                raise PtrError(early)
            self._refusal = ""
        except PtrError as error:
            self._refusal = str(error)
            self.get_logger().error(self._refusal)

    def _on_arm(self, state: ArmState) -> None:
        problem = ""
        if state.status != ArmState.STATUS_OK:
            problem = f"arm does not take commands: {state.reason}"
        self._observations.add_arm(
            ArmObservation(to_ns(state.header.stamp), np.asarray(state.proprio), problem)
        )

    def _on_image(self, stamped: tuple[int, bytes]) -> None:
        """Take a step if one falls on an image.

        Args:
            stamped: Its stamp [ns], and the serialised image, which is decoded only then.

        Raises:
            MessageError: If the image is malformed.
        """
        stamp_ns, buffer = stamped
        self._observations.image_ns = stamp_ns
        if not self.active or not self._episode or self._observations.is_before_start:
            return
        if self._observations.early_image_problem(now_ns(self)):
            return  # `_on_tick` says so; a schedule of the future would not be due again
        if not self._schedule.take(stamp_ns):
            return
        if self._stop:
            self._publish_waiting(self._stop, PolicyState.STATUS_STOPPED)
            return
        if problem := self._refusal or self._observations.problem(now_ns(self)):
            self._publish_waiting(problem)
            return
        try:
            pixels = RawImage.from_cdr(buffer).rgb()
        except PtrError as error:
            self._publish_waiting("the image is malformed")
            raise MessageError(str(error)) from error
        arm = self._observations.arm_at_exposure
        assert arm is not None
        self._step(pixels, stamp_ns, arm)

    def _on_tick(self) -> None:
        """Publish the state once per control period in which no step falls on an image."""
        now = now_ns(self)
        if not self.active or now - self._reported_ns < 1.5 * self._schedule.period_ns:
            return
        if self._episode and self._stop:
            self._publish_waiting(self._stop, PolicyState.STATUS_STOPPED)
        elif self._episode:
            problem = self._refusal or self._observations.problem(now)
            self._publish_waiting(problem or "no new image")
        else:
            self._publish_state(self._new_state(PolicyState.STATUS_IDLE))

    # --- steps ---

    def _step(self, image: np.ndarray, image_ns: int, arm: ArmObservation) -> None:
        """Act on an image: publish the command at once, the Q values when they are known.

        Args:
            image: Shape (height, width, 3), uint8 RGB.
            image_ns: Its stamp [ns].
            arm: The arm state that belongs to it.
        """
        assert self._policy is not None
        try:
            output = self._policy.act(image, arm.proprio, self._task)
        except NoActionError as error:
            self._publish_waiting(str(error))
            return
        sent_ns = now_ns(self)
        self._publish_command(output.action, image_ns, sent_ns)
        state = self._new_state(PolicyState.STATUS_ACTING)
        state.policy_std = output.std.astype(np.float64)
        state.latency = (sent_ns - image_ns) * 1e-9
        state.action = output.action.astype(np.float64)
        state.observation_stamp = to_stamp(image_ns)
        state.arm_stamp = to_stamp(arm.stamp_ns)

        self._acted += 1
        if self._q_future is not None and not self._q_future.done():
            self._publish_state(state)  # a slow computer: this step's Q values stay NaN
            return
        self._q_future = self._critics.submit(
            self._publish_q_values, self._policy, output, state, self._acted - 1
        )
        self._q_future.add_done_callback(self._log_q_error)

    def _publish_command(self, action: np.ndarray, image_ns: int, sent_ns: int) -> None:
        """Publish a command.

        Args:
            action: Shape (7,), see action_space.ACTION_NAMES.
            image_ns: Stamp of the image that the command answers [ns].
            sent_ns: Stamp of the command [ns].
        """
        command = EefCommand(
            action=action.astype(np.float64),
            source=EefCommand.SOURCE_POLICY,
            observation_stamp=to_stamp(image_ns),
        )
        command.header.stamp = to_stamp(sent_ns)
        command.header.frame_id = robot_frame(self.get_namespace(), BASE_FRAME)
        self._commands.publish(command)

    def _publish_q_values(
        self, policy: Policy, output: PolicyOutput, state: PolicyState, step: int
    ) -> None:
        """Complete and publish a policy state; in a second thread, so that no command waits."""
        state.q_values = policy.q_values(output).astype(np.float64)
        problem = self._watch.problem(step, state.q_values)
        if problem and not self._stop and state.episode_id == self._episode:
            self._stop = problem  # no command from the next step on: the arm holds
            self.get_logger().error(problem)
        if self.active:
            self._publish_state(state)

    def _log_q_error(self, future: Future[None]) -> None:
        if (error := future.exception()) is not None:
            self.get_logger().error(f"Q values: {error}")

    def _publish_waiting(
        self, reason: str, status: int = PolicyState.STATUS_WAITING
    ) -> None:
        """Publish why no action is taken; what was planned before is not executed later."""
        assert self._policy is not None
        self._policy.interrupt()
        self._publish_state(self._new_state(status, reason))

    def _new_state(self, status: int, reason: str = "") -> PolicyState:
        """Return a policy state of this moment, without values of an action."""
        assert self._policy is not None
        self._reported_ns = now_ns(self)
        state = PolicyState(
            q_values=np.full(2, np.nan),
            policy_std=np.full(7, np.nan),
            latency=np.nan,
            bundle_id=self._policy.bundle_id,
            execution=self._policy.backend,
            task=self._task,
            status=status,
            reason=reason,
            episode_id=self._episode,
            action=np.full(7, np.nan),
        )
        state.header.stamp = to_stamp(self._reported_ns)
        return state

    def _publish_state(self, state: PolicyState) -> None:
        self._last = state
        self._states.publish(state)

    def health(self) -> Health:
        """Return the entry of /diagnostics."""
        values = {
            "bundle": self._policy.sha256 if self._policy else "",
            "execution": self._policy.backend if self._policy else "",
            "episode": self._episode,
            "latency": f"{self._last.latency:.3f}",
        }
        if self._policy is not None and self._policy.server is not None:
            for kind, count in self._policy.server.counts.copy().items():
                values[f"no action: {kind}"] = str(count)
        if self._refusal or self._stop:
            return Health(DiagnosticStatus.ERROR, self._refusal or self._stop, values)
        if self._episode and self._last.reason:
            return Health(DiagnosticStatus.WARN, self._last.reason, values)
        return Health(message="active" if self.active else "not active", values=values)


def _stamped_image(buffer: bytes) -> tuple[int, bytes]:
    return stamp_of(buffer), buffer


def main() -> int:
    """Run the policy node."""
    return run(PolicyNode)


if __name__ == "__main__":
    sys.exit(main())
