"""The node `policy_shadow`: a second policy on the frames of the one that moves the arm.

It follows the states of the policy node: it acts on the same image with the same arm state, and
waits where that one waits. It has no publisher of commands; what it would have commanded is in
its own states, on `shadow/policy/state`.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

from ptr_common import qos
from ptr_common.errors import PtrError
from ptr_common.images import RawImage
from ptr_common.managed_node import MessageError, now_ns, run, subscribe, to_ns
from ptr_common.process.priority import lower_priority
from ptr_common.topics import TOPIC_POLICY_STATE, TOPIC_SHADOW_STATE
from ptr_msgs.msg import PolicyState

from .policy_node import PolicyNode

IMAGES_KEPT = 32
"""Images kept until the policy says on which of them it acted, at 30 Hz for a second."""


class PolicyShadow(PolicyNode):
    """A policy node without commands.

    Args:
        options: Passed on to `PolicyNode`.
    """

    state_topic = TOPIC_SHADOW_STATE

    def __init__(self, **options: Any) -> None:
        super().__init__("policy_shadow", **options)
        self._images: deque[tuple[int, bytes]] = deque(maxlen=IMAGES_KEPT)

    def _connect(self) -> None:
        self._images.clear()
        self.connect_inputs(qos.IMAGES)
        subscribe(self, PolicyState, TOPIC_POLICY_STATE, self._on_policy, qos.STATE)

    def _on_image(self, stamped: tuple[int, bytes]) -> None:
        """Keep an image until the policy has acted on it, or on a later one.

        Args:
            stamped: Its stamp [ns], and the serialised image.
        """
        self._images.append(stamped)

    def _on_tick(self) -> None:
        """Publish between two episodes that the node is idle."""
        due_ns = self._reported_ns + 1.5 * self._schedule.period_ns
        if self.active and not self._episode and now_ns(self) >= due_ns:
            self._publish_state(self._new_state(PolicyState.STATUS_IDLE))

    def _on_policy(self, state: PolicyState) -> None:
        """Do what the policy did at one control step.

        Args:
            state: Of the policy that moves the arm.

        Raises:
            MessageError: If the image that it names is malformed.
        """
        if not self.active or not self._episode or state.episode_id != self._episode:
            return
        if state.status in (PolicyState.STATUS_WAITING, PolicyState.STATUS_STOPPED):
            self._publish_waiting(self._refusal or state.reason)
        elif state.status == PolicyState.STATUS_ACTING:
            self._act_on(to_ns(state.observation_stamp), to_ns(state.arm_stamp))

    def _act_on(self, image_ns: int, arm_ns: int) -> None:
        """Act on the image and the arm state of these stamps [ns], or say why not."""
        image = next((data for stamp, data in self._images if stamp == image_ns), None)
        arm = self._observations.arm_of(arm_ns)
        if self._refusal or image is None or arm is None:
            lost = "image" if image is None else "arm state"
            reason = self._refusal or f"the {lost} of the policy's step did not arrive here"
            self._publish_waiting(reason)
            return
        try:
            pixels = RawImage.from_cdr(image).rgb()
        except PtrError as error:
            self._publish_waiting("the image is malformed")
            raise MessageError(str(error)) from error
        try:
            self._step(pixels, image_ns, arm)
        except PtrError as error:  # a shadow ends no graph
            self._publish_waiting(str(error))

    def _publish_command(self, *_: object) -> None:
        """Publish nothing: a shadow has no commands."""


def main() -> int:
    """Run the shadow of the policy node."""
    return run(_make)


def _make() -> PolicyShadow:
    lower_priority()  # the policy that moves the arm comes first
    return PolicyShadow()


if __name__ == "__main__":
    sys.exit(main())
