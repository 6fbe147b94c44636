"""The arm and the camera as a person's node sees them, and what it says aloud about them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping

from rcl_interfaces.msg import Log
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_common.managed_node import now_ns, subscribe, to_ns
from ptr_common.topics import TOPIC_ARM_STATE, TOPIC_EPISODE_EVENT, camera_info_topic
from ptr_msgs.msg import ArmState

from .calls import Answer, Calls
from .mapping import Button

SERVICES: Mapping[Button, str] = {
    Button.STOP: "arm/hold",
    Button.ENABLE: "arm/enable",
    Button.HOME: "arm/go_to_start",
}
"""Service of the arm node that a button calls."""

SILENCE = 2.0
"""A topic whose first message has not come for this long is named as missing [s]."""

PAUSE = 5.0
"""A topic that was heard is missing after this silence [s]: simulated time may stand still."""

REPEAT = 10.0
"""Time after which a person is told again what is missing [s]."""

REJECTIONS_PERIOD = 2.0
"""Shortest time between two lines about rejected commands [s]."""

REASON_DELAY = 0.1
"""Time in which the reason of a rejection arrives after its count [s]."""

SETTLED_NS = 100_000_000
"""A message stamped this much later than an answer shows what the answer announces [ns].

The clock of this node and that of the sender differ by less.
"""

NO_RECORDERS = (
    *("arm_node", "simulation", "policy_node", "policy_shadow"),
    *("scripted_teleop", "teleop_node", "console_node", "task_server"),
)
"""Nodes that hear the events of episodes and record nothing."""

REJECTED = "rejected: "
"""How the arm node's log begins where a command was rejected."""


class ArmLink:
    """Newest state and image of the graph, the arm's services, and its rejections.

    Args:
        node: The person's node.
        camera: Name of the camera whose images the commands answer.
        calls: Carries out the calls of services.
        show: Receives messages for the person.
        start_command: Command that starts a graph, for a person without one.

    Attributes:
        state: The newest state; None before the first.
        image_ns: Stamp of the newest image [ns]; 0 before the first.
        arms: Nodes that publish the state of an arm; commands reach all of them.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        calls: Calls,
        show: Callable[[str], object],
        start_command: str,
    ) -> None:
        self._node = node
        self._calls = calls
        self._show = show
        self._start_command = start_command
        self.state: ArmState | None = None
        self.image_ns = 0
        self.arms: list[str] = []
        self._clients = {
            button: node.create_client(Trigger, name) for button, name in SERVICES.items()
        }
        self._state_topic = node.resolve_topic_name(TOPIC_ARM_STATE)
        self._image_topic = node.resolve_topic_name(camera_info_topic(camera))
        now = time.monotonic()
        self._arrivals = {self._state_topic: now, self._image_topic: now}
        self._heard: set[str] = set()  # topics with a message so far
        self._told = now - REPEAT  # when the person was told what is missing
        self._missing: list[str] = []
        self._last_refusal = ""  # reason of the newest state, if the arm holds
        self._asked_to_move = False  # arm/go_to_start was called and has not answered
        self._moves_until_ns = 0  # a state stamped later shows whether it still moves
        self._rejected: int | None = None  # the arm node's count at the newest state
        self._untold = 0  # rejections that the person was not told yet
        self._rejected_at = 0.0  # when the first of them arrived [s]
        self._told_rejections = 0.0
        self._reason = ""  # of the newest rejection
        subscribe(node, Log, "/rosout", self._on_log, qos.STATE)

    # --- services -------------------------------------------------------------------------

    @property
    def moves(self) -> bool:
        """Whether the arm moves by itself, or was asked to."""
        if self._asked_to_move or self.state is None:
            return self._asked_to_move
        stamp_ns = to_ns(self.state.header.stamp)
        is_busy = bool(self.state.reason) and self.state.status == ArmState.STATUS_OK
        return is_busy or stamp_ns <= self._moves_until_ns

    def forget_motion(self) -> None:
        """Let the states alone say whether the arm moves."""
        self._moves_until_ns = 0

    def call(self, button: Button, on_answer: Callable[[Answer], object]) -> None:
        """Call the service of a button.

        Args:
            button: One of `SERVICES`.
            on_answer: Receives the answer, after it was shown.
        """
        is_home = button == Button.HOME
        self._asked_to_move |= is_home

        def answered(answer: Answer) -> None:
            self._show(answer.message)
            if is_home:
                self._asked_to_move = False
                if answer.success:
                    self._moves_until_ns = now_ns(self._node) + SETTLED_NS
            on_answer(answer)

        self._calls.ask(self._clients[button], Trigger.Request(), answered)

    # --- messages -------------------------------------------------------------------------

    def on_state(self, state: ArmState) -> None:
        """Note a state of the arm; say why it holds, and count what it rejected."""
        self._note(self._state_topic)
        self.state = state
        refusal = state.reason if state.status != ArmState.STATUS_OK else ""
        if refusal and refusal != self._last_refusal:
            self._show(f"the arm holds: {refusal}")
        self._last_refusal = refusal
        new = state.rejected - (
            self._rejected if self._rejected is not None else state.rejected
        )
        self._rejected = state.rejected
        if new > 0:
            self._rejected_at = self._rejected_at if self._untold else time.monotonic()
            self._untold += new

    def on_image(self, image: CameraInfo) -> None:
        """Note the camera info that accompanies an image."""
        self._note(self._image_topic)
        self.image_ns = to_ns(image.header.stamp)

    def _note(self, topic: str) -> None:
        self._arrivals[topic] = time.monotonic()
        self._heard.add(topic)

    def _on_log(self, message: Log) -> None:
        """Note why the arm node of this namespace rejected a command."""
        space = self._node.get_namespace().strip("/").replace("/", ".")
        name = message.name.removeprefix(f"{space}.") if space else message.name
        if message.msg.startswith(REJECTED) and "." not in name:
            self._reason = message.msg.removeprefix(REJECTED)

    # --- what is said aloud ---------------------------------------------------------------

    @property
    def rejected(self) -> int:
        """Number of commands that the arm has rejected since its node started."""
        return self._rejected or 0

    def look(self) -> None:
        """Say what was rejected and what is missing; to be called regularly."""
        self._tell_rejections()
        self._tell_missing()

    def missing(self) -> list[str]:
        """Return what does not publish, with topic and time; empty if all do."""
        now = time.monotonic()
        missing = []
        names = {self._state_topic: "the arm node", self._image_topic: "the camera"}
        for topic, name in names.items():
            silence = now - self._arrivals[topic]
            if topic not in self._heard or silence > PAUSE:
                missing.append(f"{name} (nothing on {topic} for {silence:.0f} s)")
        return missing

    def look_for_arms(self) -> None:
        """Note which nodes publish the state of an arm on this graph's topic; one is right."""
        names = []
        for publisher in self._node.get_publishers_info_by_topic(self._state_topic):
            names.append(f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}")
        names.sort()
        if names != self.arms and len(names) > 1:
            self._show(
                f"{len(names)} arms hear this teleoperation: {', '.join(names)}; no command is "
                "sent before all but one have ended (--simulated keeps to this computer)"
            )
        self.arms = names

    def obstacle(self, *, needs_recorder: bool) -> str:
        """Return why no episode can begin now; empty if one can.

        Args:
            needs_recorder: Whether an episode that nobody records is worth nothing.
        """
        if missing := self.missing():
            return f"no message of {' and '.join(missing)}"
        if not all(client.service_is_ready() for client in self._clients.values()):
            return "the arm node does not offer its services yet"
        if now_ns(self._node) == 0:
            return "the simulated clock does not run yet"
        if len(self.arms) > 1:
            return f"several arms: {', '.join(self.arms)}"
        assert self.state is not None
        if self.state.status != ArmState.STATUS_OK:
            return "the arm holds; e enables it"
        if needs_recorder and not self.has_recorder():
            return f"no recorder hears {TOPIC_EPISODE_EVENT}: nothing would be saved"
        return ""

    def has_recorder(self) -> bool:
        """Return whether a node hears the events of episodes that may record them."""
        topic = self._node.resolve_topic_name(TOPIC_EPISODE_EVENT)
        nodes = self._node.get_subscriptions_info_by_topic(topic)
        return any(node.node_name not in NO_RECORDERS for node in nodes)

    def _tell_rejections(self) -> None:
        now = time.monotonic()
        is_due = now - self._told_rejections > REJECTIONS_PERIOD
        if not self._untold or not is_due or now - self._rejected_at < REASON_DELAY:
            return
        held = self.state.reason if self.state is not None else ""
        reason = self._reason or held or "the arm node's log says why"
        plural = "command" if self._untold == 1 else "commands"
        self._show(f"REJECTED, not executed: {self._untold} {plural}: {reason}")
        self._untold = 0
        self._reason = ""
        self._told_rejections = now

    def _tell_missing(self) -> None:
        now = time.monotonic()
        silences = [now - arrival for arrival in self._arrivals.values()]
        missing = self.missing() if max(silences) > SILENCE else []
        if missing and now - self._told >= REPEAT:
            self._told = now
            self._missing = missing
            self._show(f"waiting for {' and '.join(missing)}; {self._remedy()}")
        elif self._missing and not self.missing():
            self._missing = []
            self._told = now - REPEAT
            self._show("arm and camera are there")

    def _remedy(self) -> str:
        """Return what to do where something is missing."""
        hears_arm = time.monotonic() - self._arrivals[self._state_topic] < SILENCE
        if hears_arm and (cameras := self._cameras()):
            return f"cameras of this graph: {', '.join(cameras)} (--camera NAME)"
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        return (
            f"start the graph in another terminal: `{self._start_command}` "
            f"(ROS_DOMAIN_ID is {domain} here)"
        )

    def _cameras(self) -> list[str]:
        """Return the names of the cameras that publish in this namespace."""
        space = re.escape(self._node.get_namespace().rstrip("/"))
        pattern = re.compile(rf"{space}/camera/(\w+)/camera_info")
        topics = [name for name, _ in self._node.get_topic_names_and_types()]
        found = (pattern.fullmatch(topic) for topic in topics)
        return sorted(
            match[1] for match in found if match and self._node.count_publishers(match[0])
        )
