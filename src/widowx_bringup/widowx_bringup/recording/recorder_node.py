"""The node `recorder_node`: records every episode as one bag, from START to its end event.

Messages are stored as they arrive, without being decoded, and a thread writes them. The bag
also holds the newest image and state from before START, because the first command may answer
them. A bag has its name `<directory>/<episode id>` only once it is complete.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, Image, JointState

from ptr_common import qos
from ptr_common.errors import PtrError
from ptr_common.images import RawImage
from ptr_common.managed_node import (
    Health,
    end_limit,
    now_ns,
    publish_diagnostics,
    run,
    subscribe,
    to_ns,
)
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_DIAGNOSTICS,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_JOINT_STATES,
    TOPIC_POLICY_STATE,
    TOPIC_SHADOW_STATE,
    camera_info_topic,
    image_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
from widowx_bringup.camera.protocol import TOPIC_WORLD

from .background_writer import BackgroundWriter
from .bag_writer import BagWriter
from .message_definitions import message_definition
from .parameters import declare_settings
from .recorded_topic import RecordedTopic, deep_queue, full_type_name, pre_roll
from .stream_checks import FrozenImages, decode, rival_publishers

OUTCOMES = {
    EpisodeEvent.SUCCESS: "success",
    EpisodeEvent.FAILURE: "failure",
    EpisodeEvent.STOP: "stop",
}

LINGER = 0.2
"""Real time from the end event to the end of the bag [s]: late messages still arrive."""


class RecorderNode(Node):
    """ROS side of the recorder: subscriptions, episodes, diagnostics."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        self._log = self.get_logger()
        self._settings = declare_settings(self)
        self._cameras = self._settings.cameras
        self._topics: list[RecordedTopic] = []
        self._episode = ""  # id; empty while idle
        self._outcome = ""  # set by the end event, while the bag lingers
        self._linger: Timer | None = None
        self._writer: BackgroundWriter | None = None  # of the running episode
        self._finishing: list[BackgroundWriter] = []
        self._error = ""
        self._reported: set[str] = set()  # errors of writers that are in the log
        self._bags = 0
        self._publishing_nodes: set[str] = set()  # by their diagnostics
        self._images: dict[str, FrozenImages] = {}  # by topic

        self._subscribe()
        publish_diagnostics(self, "recorder", self._health)

    def _subscribe(self) -> None:
        for camera in self._cameras:
            self._add(
                image_topic(camera),
                Image,
                qos.IMAGES,
                handle=functools.partial(self._on_image, FrozenImages()),
                pre_roll=True,
                needed=True,
            )
            self._add(camera_info_topic(camera), CameraInfo, qos.IMAGES, pre_roll=True)
        # The first image belongs to an arm state from before it.
        lead_ns = round(1e9 * max(self._cameras.values()))
        self._add(
            TOPIC_ARM_STATE,
            ArmState,
            qos.STATE,
            handle=self._on_arm,
            pre_roll=True,
            needed=True,
            lead_ns=lead_ns,
        )
        self._add(TOPIC_JOINT_STATES, JointState, qos.STATE, pre_roll=True)
        self._add(TOPIC_WORLD, JointState, qos.STATE, pre_roll=True)
        self._add(TOPIC_COMMAND, EefCommand, qos.COMMANDS)
        self._add(TOPIC_EXECUTED, EefCommand, qos.COMMANDS)
        self._add(TOPIC_POLICY_STATE, PolicyState, qos.STATE)
        self._add(TOPIC_SHADOW_STATE, PolicyState, qos.STATE)
        self._add(
            TOPIC_DIAGNOSTICS,
            DiagnosticArray,
            qos.STATE,
            handle=self._on_diagnostics,
            shared=True,
        )
        self._add(
            TOPIC_EPISODE_EVENT,
            EpisodeEvent,
            qos.EVENTS,
            handle=self._on_event,
            shared=True,
        )

    def _add(
        self,
        name: str,
        message_type: type,
        profile: QoSProfile,
        *,
        handle: Callable[[RecordedTopic, bytes, Any], None] | None = None,
        pre_roll: bool = False,
        needed: bool = False,
        lead_ns: int = 0,
        shared: bool = False,
    ) -> None:
        """Subscribe to a topic.

        Args:
            name: Its name, relative to the namespace of the node.
            message_type: Its message class.
            profile: Quality of service of its publishers.
            handle: Called with every message, serialised and decoded; `_on_message` by
                default.
            pre_roll: See `RecordedTopic`.
            needed: See `RecordedTopic`.
            lead_ns: See `RecordedTopic` [ns].
            shared: See `RecordedTopic`.

        Raises:
            PtrError: If the definition of the message type is not installed.
        """
        topic = RecordedTopic(
            self.resolve_topic_name(name),
            full_type_name(message_type),
            pre_roll,
            needed,
            lead_ns,
            shared,
        )
        # A missing definition is an error now, not in the middle of an episode.
        message_definition(topic.type_name)
        callback = handle or self._on_message
        subscribe(
            self,
            message_type,
            name,
            lambda received: callback(topic, *received),
            deep_queue(profile),
            decode=lambda data: (data, decode(topic, message_type, data)),
        )
        self._topics.append(topic)

    # --- callbacks --------------------------------------------------------------------------

    def _on_arm(self, topic: RecordedTopic, data: bytes, state: ArmState) -> None:
        for images in self._images.values():
            images.on_arm(state)
        self._on_message(topic, data)

    def _on_image(
        self, images: FrozenImages, topic: RecordedTopic, data: bytes, image: RawImage
    ) -> None:
        self._images[topic.name] = images
        images.on_image(image, now_ns(self))
        self._on_message(topic, data)

    def _on_message(self, topic: RecordedTopic, data: bytes, message: Any = None) -> None:
        stamp_ns = now_ns(self)
        topic.keep(data, stamp_ns)
        self._put(topic, data, stamp_ns)

    def _on_diagnostics(
        self, topic: RecordedTopic, data: bytes, message: DiagnosticArray
    ) -> None:
        """Note which nodes publish diagnostics, and record the message."""
        for status in message.status:
            node, _, _ = status.name.partition(":")
            self._publishing_nodes.add(node)
        self._on_message(topic, data)

    def _on_event(self, topic: RecordedTopic, data: bytes, event: EpisodeEvent) -> None:
        is_running = self._episode and event.episode_id == self._episode
        if event.event == EpisodeEvent.START:
            self._start(event)
            self._put(topic, data, now_ns(self), always=True)
        elif not is_running or self._outcome:
            self._log.warning(
                f"event {event.event} of episode {event.episode_id!r} ignored: "
                "not recording it"
            )
        elif event.event == EpisodeEvent.DISCARD:
            self._discard()
        elif event.event in OUTCOMES:
            self._put(topic, data, now_ns(self), always=True)
            self._outcome = OUTCOMES[event.event]
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._linger = self.create_timer(LINGER, self._finish, clock=steady)
        else:
            self._log.warning(
                f"event {event.event} of episode {event.episode_id!r} ignored: unknown"
            )

    def _put(
        self, topic: RecordedTopic, data: bytes, stamp_ns: int, *, always: bool = False
    ) -> None:
        """Give a message to the writer of the running episode, if there is one.

        Args:
            topic: Topic of the message.
            data: The serialised message (CDR).
            stamp_ns: Time of its arrival [ns].
            always: Whether it is never dropped.
        """
        if self._writer is None:
            return
        if topic.description is None:
            publishers = self.get_publishers_info_by_topic(topic.name)
            topic.description = topic.describe(info.qos_profile for info in publishers)
        self._writer.put(topic.description, data, stamp_ns, always=always)

    # --- episodes ---------------------------------------------------------------------------

    def _start(self, event: EpisodeEvent) -> None:
        """Begin a bag for an episode; one that still runs is closed first."""
        if event.episode_id == self._episode and self._episode:
            self._log.warning(f"episode {self._episode} is being recorded already")
            return
        if self._episode:
            if not self._outcome:
                self._log.warning(
                    f"episode {self._episode} has no end event; closed as stop"
                )
            self._finish("stop")

        custom = self._settings.custom_data(event)
        try:
            if rivals := rival_publishers(self, self._topics):
                raise PtrError(rivals)
            bag = BagWriter(
                self._settings.directory,
                event.episode_id,
                custom,
                chunk_bytes=self._settings.chunk_bytes,
            )
        except PtrError as error:
            self._fail(f"episode {event.episode_id!r} is not recorded: {error}")
            return

        self._error = ""
        self._episode = event.episode_id
        self._writer = BackgroundWriter(bag, self._settings.queue_bytes)
        self._log.info(f"recording episode {self._episode} ({event.task})")
        self._write_pre_roll(to_ns(event.header.stamp))

    def _write_pre_roll(self, start_ns: int) -> None:
        """Begin the bag with the messages that arrived before START did."""
        for topic in self._topics:
            topic.description = None
        for stamp_ns, topic, data in pre_roll(self._topics, start_ns, now_ns(self)):
            self._put(topic, data, stamp_ns)

    def _finish(self, outcome: str = "") -> None:
        """Close the running bag.

        Args:
            outcome: Outcome of the episode if it has no end event.
        """
        if self._linger is not None:
            self.destroy_timer(self._linger)
            self._linger = None
        if self._writer is not None:
            self._writer.finish({"outcome": self._outcome or outcome})
            self._finishing.append(self._writer)
        self._writer, self._episode, self._outcome = None, "", ""

    def _discard(self) -> None:
        self._log.info(f"episode {self._episode} discarded")
        if self._writer is not None:
            self._writer.discard()
            self._finishing.append(self._writer)
        self._writer, self._episode = None, ""

    def _fail(self, reason: str) -> None:
        self._error = reason
        self._log.error(reason)

    # --- state ------------------------------------------------------------------------------

    def _note_finished_bags(self) -> None:
        """Log and count the bags that are complete, and report those that failed."""
        ended = [writer for writer in self._finishing if not writer.running]
        for writer in [*self._finishing, self._writer]:
            if writer is not None and writer.error and writer.error not in self._reported:
                self._reported.add(writer.error)
                self._fail(writer.error)

        for writer in ended:
            self._finishing.remove(writer)
            if writer.path is not None:
                self._bags += 1
                lost = f", {writer.dropped.total()} dropped" if writer.dropped else ""
                self._log.info(f"{writer.path}: {writer.bag.messages} messages{lost}")

    def _health(self) -> Health:
        self._note_finished_bags()
        writer = self._writer
        dropped = writer.dropped.total() if writer else 0
        state = "recording" if writer else "finishing" if self._finishing else "idle"
        values = {
            "state": state,
            "episode_id": self._episode,
            "messages": writer.bag.messages if writer else 0,
            "dropped": dropped,
            "bags": self._bags,
            "directory": self._settings.directory,
            "hears": " ".join(sorted(self._publishing_nodes)),
        }

        if self._error:
            return Health(DiagnosticStatus.ERROR, self._error, values)

        warning = ""
        if writer and dropped:
            counts = [f"{topic} {count}" for topic, count in writer.dropped.most_common()]
            warning = f"disk too slow, messages dropped: {', '.join(counts)}"
        elif frozen := [name for name, images in self._images.items() if images.frozen]:
            warning = (
                f"the same image again and again while the arm moves: {', '.join(frozen)}"
            )
        elif writer and (rivals := rival_publishers(self, self._topics)):
            return Health(DiagnosticStatus.ERROR, rivals, values)
        elif silent := self._silent_topics():
            warning = f"nothing has arrived on {', '.join(silent)}"
        if warning:
            return Health(DiagnosticStatus.WARN, warning, values)
        return Health(DiagnosticStatus.OK, state, values)

    def _silent_topics(self) -> list[str]:
        """Return the needed topics without any message so far."""
        return [topic.name for topic in self._topics if topic.needed and not topic.recent]

    def destroy_node(self) -> None:
        """Finish the running bag as `interrupted` and wait until it is on the disk."""
        self._finish("interrupted")
        with end_limit.paused():
            for writer in list(self._finishing):
                writer.join()
        # The logger of the node publishes, which is impossible once ROS is shut down.
        self._log = get_logger("recorder")
        self._note_finished_bags()
        super().destroy_node()


def main() -> None:
    """Run the node."""
    sys.exit(run(RecorderNode))


if __name__ == "__main__":
    main()
