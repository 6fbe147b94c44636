"""The deployed policy on the ROS graph: picture and arm state in, one command per control step out.

A lifecycle node. It loads and checks its bundle when configured (PyTorch is not imported
before), and commands only while it is active, an episode is running, and picture and arm
state are fresh.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, CONTROL_RATE
from ptr_common.camera_latency import MAX_CAMERA_LATENCY
from ptr_common.cdr import stamp_of
from ptr_common.errors import PtrError
from ptr_common.images import RawImage
from ptr_common.managed_node import (
    PIXELS,
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
    TOPIC_POLICY_STATE,
    image_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState

from .observation import ArmInput, Inputs, StepSchedule

if TYPE_CHECKING:
    from .policy import Choice, Policy

LATENESS = (0.01, 2.0)
"""Ages [s] that may be set as the oldest acted on: none of them is a way to switch the check off."""


class PolicyNode(ManagedNode):
    """ROS wiring of one policy."""

    def __init__(self, **options: Any) -> None:
        super().__init__("policy_node", **options)
        parameter(self, "bundle", "", "folder of the bundle", settable=True)
        parameter(
            self,
            "camera",
            "over_shoulder",
            "camera the policy looks through",
            settable=True,
        )
        parameter(self, "width", 640, "its picture width [pixels]", PIXELS, settable=True)
        parameter(self, "height", 480, "its picture height [pixels]", PIXELS, settable=True)
        parameter(
            self, "task", "", "task where the START of an episode names none", settable=True
        )
        parameter(
            self,
            "backend",
            "auto",
            "what runs the bundle: auto, or one of backends.BACKENDS",
            settable=True,
        )
        parameter(
            self,
            "precision",
            "float32",
            "what it computes in: float32 or bfloat16",
            settable=True,
        )
        parameter(self, "threads", 1, "CPU threads of PyTorch", (1, 256), settable=True)
        latency = "by how much the camera's stamps are late [s]"
        parameter(
            self, "camera_latency", 0.0, latency, (0.0, MAX_CAMERA_LATENCY), settable=True
        )
        parameter(
            self,
            "max_image_age",
            0.2,
            "oldest picture acted on, from when it was seen [s]",
            LATENESS,
        )
        parameter(self, "max_state_age", 0.2, "oldest arm state acted on [s]", LATENESS)
        self._inputs: Inputs  # once configured
        self._schedule = StepSchedule(CONTROL_RATE)
        self._policy: Policy | None = None
        self._episode = ""  # id; empty while idle
        self._task = ""
        self._refusal = ""  # why the running episode cannot be acted on
        self._stepped_ns = 0
        self._last = PolicyState()
        self._judged: Future[None] | None = (
            None  # the step whose Q values are being computed
        )
        self._judging = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="critic", initializer=_step_back
        )
        self.publish_health("policy")

    # --- life cycle ---

    def configure(self) -> None:
        """Load and check the bundle.

        Raises:
            PtrError: If the bundle is refused, or the camera is too late for it; the
            message says why.
        """
        from .bundle import CameraSpec
        from .policy import load_bundle

        names = ("max_image_age", "max_state_age", "camera_latency")
        self._inputs = Inputs(**{name: self.value(name) for name in names})
        policy = load_bundle(
            Path(self.value("bundle")),
            camera=CameraSpec(
                self.value("camera"), self.value("width"), self.value("height")
            ),
            rate=CONTROL_RATE,
            threads=self.value("threads"),
            backend=self.value("backend"),
            precision=self.value("precision"),
        )
        if task := self.value("task"):
            policy.task_id(task)
        self._policy, self._refusal = policy, ""
        self._connect()
        self.get_logger().info(
            f"bundle {policy.bundle_id}: {policy.info.agent}, checked; runs by {policy.execution}"
        )

    def _connect(self) -> None:
        self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
        self._states = self.create_publisher(PolicyState, TOPIC_POLICY_STATE, qos.STATE)
        self.create_subscription(ArmState, TOPIC_ARM_STATE, self._on_arm, qos.STATE)
        self.create_subscription(
            EpisodeEvent, TOPIC_EPISODE_EVENT, self._on_event, qos.EVENTS
        )
        # Serialised: a picture is decoded only when a step falls on it.
        image = image_topic(self.value("camera"))
        self.create_subscription(Image, image, self._on_image, qos.NEWEST_IMAGE, raw=True)
        self.create_timer(1.0 / CONTROL_RATE, self._on_tick)

    def deactivate(self) -> None:
        """Publish nothing any more; a running episode is not resumed."""
        self._episode = ""

    def cleanup(self) -> None:
        """Forget the bundle."""
        self._judging.submit(
            bool
        ).result()  # what was judged last is published before its publisher goes
        self._policy = None

    def destroy_node(self) -> None:
        """Let the last values be computed."""
        super().destroy_node()
        self._judging.shutdown()

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
        self._stepped_ns = to_ns(event.header.stamp)
        self._inputs.start(self._stepped_ns)
        self._schedule.restart()
        self._policy.reset()
        try:
            self._policy.task_id(self._task)
            self._refusal = ""
        except PtrError as error:
            self._refusal = str(error)
            self.get_logger().error(self._refusal)

    def _on_arm(self, state: ArmState) -> None:
        problem = (
            ""
            if state.status == ArmState.STATUS_OK
            else f"arm does not take commands: {state.reason}"
        )
        self._inputs.hear(
            ArmInput(to_ns(state.header.stamp), np.asarray(state.proprio), problem)
        )

    def _on_image(self, buffer: bytes) -> None:
        """Take a step if one falls on this picture."""
        stamp_ns = stamp_of(buffer)
        self._inputs.image_ns = stamp_ns
        if not self.active or not self._episode or self._inputs.before_start:
            return
        if not self._schedule.take(stamp_ns):
            return
        if problem := self._refusal or self._inputs.problem(now_ns(self)):
            self._wait(problem)
        else:
            self._step(RawImage.from_cdr(buffer))

    def _on_tick(self) -> None:
        """Say once per control period what the node is doing when no step falls on a picture."""
        now = now_ns(self)
        if not self.active or now - self._stepped_ns < 1.5 * self._schedule.period_ns:
            return
        if self._episode:
            self._wait(self._refusal or self._inputs.problem(now) or "no new image")
        else:
            self._publish_state(self._new_state(PolicyState.STATUS_IDLE))

    def _step(self, image: RawImage) -> None:
        assert self._policy is not None
        arm = self._inputs.arm_seen
        assert arm is not None
        choice = self._policy.choose(image.rgb(), arm.proprio, self._task)
        sent_ns = now_ns(self)
        command = EefCommand(
            action=choice.action.astype(np.float64),
            source=EefCommand.SOURCE_POLICY,
            observation_stamp=to_stamp(image.stamp_ns),
        )
        command.header.stamp = to_stamp(sent_ns)
        command.header.frame_id = BASE_FRAME
        self._commands.publish(command)
        state = self._new_state(PolicyState.STATUS_ACTING)
        state.policy_std = choice.std.astype(np.float64)
        state.latency = (sent_ns - image.stamp_ns) * 1e-9
        if (
            self._judged is not None and not self._judged.done()
        ):  # a slow computer: this step's Q values stay NaN
            self._publish_state(state)
            return
        self._judged = self._judging.submit(self._judge, self._policy, choice, state)
        self._judged.add_done_callback(self._report)

    def _judge(self, policy: Policy, choice: Choice, state: PolicyState) -> None:
        """Publish what the critics think; in a thread of its own, so that no command waits for it."""
        state.q_values = policy.value(choice).astype(np.float64)
        if self.active:
            self._publish_state(state)

    def _report(self, judged: Future[None]) -> None:
        if (error := judged.exception()) is not None:
            self.get_logger().error(f"Q values: {error}")

    def _wait(self, reason: str) -> None:
        self._publish_state(self._new_state(PolicyState.STATUS_WAITING, reason))

    def _new_state(self, status: int, reason: str = "") -> PolicyState:
        assert self._policy is not None
        self._stepped_ns = now_ns(self)
        state = PolicyState(
            q_values=np.full(2, np.nan),
            policy_std=np.full(7, np.nan),
            latency=np.nan,
            bundle_id=self._policy.bundle_id,
            execution=self._policy.execution,
            task=self._task,
            status=status,
            reason=reason,
        )
        state.header.stamp = to_stamp(self._stepped_ns)
        return state

    def _publish_state(self, state: PolicyState) -> None:
        self._last = state
        self._states.publish(state)

    def health(self) -> Health:
        """Return the entry of /diagnostics."""
        values = {
            "bundle": self._policy.bundle_id if self._policy else "",
            "execution": self._policy.execution if self._policy else "",
            "episode": self._episode,
            "latency": f"{self._last.latency:.3f}",
        }
        if self._refusal:
            return Health(DiagnosticStatus.ERROR, self._refusal, values)
        if self._episode and self._last.reason:
            return Health(DiagnosticStatus.WARN, self._last.reason, values)
        return Health(message="active" if self.active else "not active", values=values)


def _step_back() -> None:
    """Let the other threads of this process go first when cores are scarce."""
    os.setpriority(
        os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + 5
    )


def main() -> int:
    """Run the policy node."""
    return run(PolicyNode)


if __name__ == "__main__":
    sys.exit(main())
