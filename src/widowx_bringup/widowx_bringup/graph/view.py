"""What the nodes of a graph say: their newest messages, and what a session makes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Any

from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_DIAGNOSTICS,
    TOPIC_EXECUTED,
    TOPIC_POLICY_STATE,
    TOPIC_SHADOW_STATE,
    camera_info_topic,
)
from widowx_bringup.arm.refusal import OF_POLICY, Kind

if TYPE_CHECKING:
    from rclpy.node import Node

LATE_IMAGE_NS = 200_000_000
"""Age of the newest image on which no policy acts [ns]."""

COUNTERS = ("clipped", "held", "rejected")
"""Counters of `ArmState`, from the start of the arm node on."""

RECORDED_NODES_KEY = "hears"
"""Entry of the recorder's diagnostics that lists the nodes whose topics reach it."""


def is_of_policy(kind: str, *, policy_waited: bool) -> bool:
    """Return whether the arm holds because of the policy, and not of anything else.

    Values that are not finite are its doing, and so is silence, unless it lacked an image or
    the arm's state.

    Args:
        kind: Kind of the hold, as the arm's diagnostics have it.
        policy_waited: `GraphView.policy_waited` of that hold.
    """
    if kind == Kind.SILENCE.value and policy_waited:
        return False
    return kind in [own.value for own in OF_POLICY]


class GraphView:
    """Notes the messages of a graph's nodes. It has no lock: its owner serialises the calls.

    Args:
        camera: Name of the policy's camera.
        nodes: Full names of the nodes that the recorder must receive.

    Attributes:
        image_topic: Topic of the camera info that accompanies each image of the camera.
        newest: Newest message by topic.
        executed_ns: Stamps of the commands executed since it was emptied [ns].
        policy_waited: Whether the policy lacked an input when the arm began to hold.
        arm: Newest state of the arm; None before the first.
        restarted: The counter of the arm that went backwards, in words; empty if none did.
        recorder: Newest entry of the recorder in /diagnostics; None before the first.
    """

    def __init__(self, camera: str, nodes: Set[str]) -> None:
        self.image_topic = camera_info_topic(camera)
        self.newest: dict[str, Any] = {}
        self.executed_ns: list[int] = []
        self.policy_waited = False
        self.arm: Any = None
        self.restarted = ""
        self.recorder: Any = None
        self._nodes = nodes
        self._arm_values: dict[str, str] = {}  # of its newest entry in /diagnostics

    def subscribe(
        self,
        node: Node,
        on_message: Callable[[str, Any], None],
        on_diagnostics: Callable[[Any], None],
    ) -> None:
        """Subscribe a node to everything that the view notes.

        Args:
            node: The node of the owner.
            on_message: Receives topic and message; hands them on to `note`.
            on_diagnostics: Receives a `DiagnosticArray`; hands it on to `note_diagnostics`.
        """
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CameraInfo

        from ptr_common import qos
        from ptr_common.node import subscribe
        from ptr_msgs.msg import ArmState, EefCommand, PolicyState

        for kind, topic, profile in (
            (ArmState, TOPIC_ARM_STATE, qos.STATE),
            (PolicyState, TOPIC_POLICY_STATE, qos.STATE),
            (PolicyState, TOPIC_SHADOW_STATE, qos.STATE),
            (EefCommand, TOPIC_EXECUTED, qos.COMMANDS),
            (CameraInfo, self.image_topic, qos.IMAGES),
        ):
            subscribe(node, kind, topic, functools.partial(on_message, topic), profile)
        subscribe(node, DiagnosticArray, TOPIC_DIAGNOSTICS, on_diagnostics, qos.STATE)

    def note(self, topic: str, message: Any) -> None:
        """Note a message."""
        self.newest[topic] = message
        if topic == TOPIC_ARM_STATE:
            self._note_arm(message)
        if topic == TOPIC_EXECUTED:
            self._note_executed(message)

    @property
    def executed(self) -> int:
        """Number of commands executed since `executed_ns` was emptied."""
        return len(self.executed_ns)

    def _note_executed(self, command: Any) -> None:
        from ptr_common.node import to_ns

        self.executed_ns.append(to_ns(command.header.stamp))

    def _note_arm(self, state: Any) -> None:
        """Note what a state of the arm says beside the one before it."""
        from ptr_common.node import to_ns

        before, self.arm = self.arm, state
        if before is None:
            return
        for name in COUNTERS:
            last, now = getattr(before, name), getattr(state, name)
            if now < last:
                self.restarted = f"{name} of {TOPIC_ARM_STATE} fell from {last} to {now}"
        if before.status == state.STATUS_OK != state.status:
            self.policy_waited = self._lacks_input(to_ns(state.header.stamp))

    def _lacks_input(self, now: int) -> bool:
        """Return whether the policy has no fresh image, or has said that it waits for an input.

        Args:
            now: The time [ns]; what it says later, it may say because the arm holds.
        """
        from ptr_common.node import to_ns

        image = self.newest.get(self.image_topic)
        if image is None or now - to_ns(image.header.stamp) > LATE_IMAGE_NS:
            return True
        policy = self.newest.get(TOPIC_POLICY_STATE)
        if policy is None or policy.status != policy.STATUS_WAITING:
            return False
        return to_ns(policy.header.stamp) <= now

    def note_diagnostics(self, message: Any) -> None:
        """Note the entries of recorder and arm in a `DiagnosticArray`."""
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            if status.name.endswith("/recorder_node"):
                self.recorder = status
            elif "held" in values:
                self._arm_values = values

    def hold_kind(self, held: int) -> str:
        """Return the kind of a hold if the newest diagnostics are of it; empty otherwise.

        Args:
            held: Number of the hold, by the arm's state.
        """
        values = self._arm_values
        return values.get("holding", "") if values.get("held") == str(held) else ""

    def unrecorded_nodes(self) -> set[str]:
        """Return the nodes whose messages do not reach the recorder yet."""
        recorded: set[str] = set()
        if self.recorder is not None:
            for entry in self.recorder.values:
                if entry.key == RECORDED_NODES_KEY:
                    recorded.update(entry.value.split())
        return set(self._nodes) - recorded

    def reasons(self) -> str:
        """Return the reasons that arm, policy and recorder give for waiting."""
        text = ""
        for topic, message in self.newest.items():
            reason = getattr(message, "reason", "")
            if reason:
                text += f"; {topic}: {reason}"
        if self.recorder is not None and self.recorder.level != b"\0":
            text += f"; recorder: {self.recorder.message}"
        if self.recorder is not None and (missing := self.unrecorded_nodes()):
            text += f"; recorder: no connection to {', '.join(sorted(missing))}"
        return text
