"""Records every episode as one bag: from its START to the event that ends it.

Messages are stored as they arrive, without being decoded, and written by a thread of their
own. The bag also holds the newest picture and state from just before START, which the first
command may answer. A bag has its name `<directory>/<episode id>` only once it is complete.
"""

from __future__ import annotations

import functools
import importlib.metadata
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, Image, JointState

from ptr_common import qos
from ptr_common.action_space import CONTROL_RATE
from ptr_common.camera_latency import camera_latency
from ptr_common.errors import PtrError
from ptr_common.managed_node import Health, now_ns, parameter, publish_diagnostics, run
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_DIAGNOSTICS,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_JOINT_STATES,
    TOPIC_POLICY_STATE,
    camera_info_topic,
    image_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
from widowx_bringup.camera.protocol import TOPIC_WORLD

from .background_writer import BackgroundWriter
from .bag_writer import CHUNK_BYTES, BagWriter, Topic
from .message_definitions import message_definition, type_hash

OUTCOMES = {
    EpisodeEvent.SUCCESS: "success",
    EpisodeEvent.FAILURE: "failure",
    EpisodeEvent.STOP: "stop",
}

LINGER = 0.2
"""Real time a bag stays open after the end event [s], for messages that were on their way."""

PRE_ROLL_NS = 1_000_000_000
"""Oldest message from before START that still enters the bag [ns]."""

QUEUE_DEPTH = 100
"""Depth of the subscriptions: they must outlast a pause of this process, whatever the publishers keep."""


@dataclass
class _Source:
    """One subscribed topic."""

    name: str
    type_name: str
    pre_roll: bool  # whether its newest message is kept for the start of the next bag
    needed: bool  # whether a bag without it is useless
    lead_ns: int = (
        0  # its newest message older than this is kept as well, with all after it
    )
    recent: deque[tuple[bytes, int]] = field(
        default_factory=deque
    )  # what is kept, with the times of arrival
    topic: Topic | None = None  # as described in the running bag

    def keep(self, data: bytes, stamp_ns: int) -> None:
        """Keep a message for the start of the next bag; forget those that it makes needless."""
        self.recent.append((data, stamp_ns))
        while len(self.recent) > 1 and self.recent[1][1] <= stamp_ns - self.lead_ns:
            self.recent.popleft()


class RecorderNode(Node):
    """ROS side of the recorder: subscriptions, episodes, diagnostics."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        self._log = self.get_logger()
        self._directory = Path(
            parameter(self, "directory", "bags", "folder that receives one bag per episode")
        )
        camera = parameter(
            self, "camera", "over_shoulder", "name of the camera the policy looks through"
        )
        others = parameter(
            self, "other_cameras", [""], "names of further cameras to record"
        )
        late = parameter(
            self,
            "camera_latency",
            [0.0],
            "by how much the stamps of each are late [s]; goes into the bag",
        )
        self._operator = parameter(
            self, "operator", "", "who demonstrates; goes into the bag's custom data"
        )
        self._queue_bytes = parameter(
            self, "queue_bytes", 256 << 20, "most bytes waiting for the disk"
        )
        self._chunk_bytes = parameter(
            self, "chunk_bytes", CHUNK_BYTES, "size of an MCAP chunk [bytes]"
        )
        names = dict.fromkeys([camera, *filter(None, others)])
        latencies = [*map(camera_latency, late), *([0.0] * len(names))]
        self._cameras = dict(zip(names, latencies, strict=False))  # latency of each [s]
        self._sources: list[_Source] = []
        self._episode = ""  # id; empty while idle
        self._outcome = ""  # set by the end event, while the bag lingers
        self._linger: Timer | None = None
        self._writer: BackgroundWriter | None = None
        self._finishing: list[BackgroundWriter] = []
        self._error = ""
        self._told: set[str] = set()  # errors of writers that were reported
        self._bags = 0
        self._hears: set[str] = set()  # nodes whose diagnostics have arrived
        self._subscribe()
        publish_diagnostics(self, "recorder", self._health)

    def _subscribe(self) -> None:
        for camera in self._cameras:
            self._add(image_topic(camera), Image, qos.IMAGES, pre_roll=True, needed=True)
            self._add(camera_info_topic(camera), CameraInfo, qos.IMAGES, pre_roll=True)
        # the first picture belongs to an arm state from before it
        lead_ns = round(1e9 * max(self._cameras.values()))
        self._add(
            TOPIC_ARM_STATE,
            ArmState,
            qos.STATE,
            pre_roll=True,
            needed=True,
            lead_ns=lead_ns,
        )
        self._add(TOPIC_JOINT_STATES, JointState, qos.STATE, pre_roll=True)
        self._add(TOPIC_WORLD, JointState, qos.STATE, pre_roll=True)
        self._add(TOPIC_COMMAND, EefCommand, qos.COMMANDS)
        self._add(TOPIC_EXECUTED, EefCommand, qos.COMMANDS)
        self._add(TOPIC_POLICY_STATE, PolicyState, qos.STATE)
        self._add(
            TOPIC_DIAGNOSTICS, DiagnosticArray, qos.STATE, handle=self._on_diagnostics
        )
        self._add(TOPIC_EPISODE_EVENT, EpisodeEvent, qos.EVENTS, handle=self._on_event)

    def _add(
        self,
        topic: str,
        kind: type,
        profile: QoSProfile,
        *,
        handle: Callable[[_Source, bytes], None] | None = None,
        pre_roll: bool = False,
        needed: bool = False,
        lead_ns: int = 0,
    ) -> None:
        package, folder, _ = kind.__module__.split(".", 2)
        type_name = f"{package}/{folder}/{kind.__name__}"
        source = _Source(
            self.resolve_topic_name(topic), type_name, pre_roll, needed, lead_ns
        )
        message_definition(
            source.type_name
        )  # say now, not in the middle of an episode, that one is missing
        deep = QoSProfile(
            depth=QUEUE_DEPTH,
            reliability=profile.reliability,
            durability=profile.durability,
        )
        self.create_subscription(
            kind,
            topic,
            functools.partial(handle or self._on_message, source),
            deep,
            raw=True,
        )
        self._sources.append(source)

    # --- callbacks ------------------------------------------------------------------------------------------

    def _on_message(self, source: _Source, data: bytes) -> None:
        stamp_ns = now_ns(self)
        if source.pre_roll:
            source.keep(data, stamp_ns)
        self._put(source, data, stamp_ns)

    def _on_diagnostics(self, source: _Source, data: bytes) -> None:
        self._hears.update(
            status.name.partition(":")[0]
            for status in deserialize_message(data, DiagnosticArray).status
        )
        self._on_message(source, data)

    def _on_event(self, source: _Source, data: bytes) -> None:
        event = deserialize_message(data, EpisodeEvent)
        if event.event == EpisodeEvent.START:
            self._start(event)
            self._put(source, data, now_ns(self), always=True)
        elif not self._episode or event.episode_id != self._episode or self._outcome:
            self._log.warning(
                f"event {event.event} of episode {event.episode_id!r} ignored: not recording it"
            )
        elif event.event == EpisodeEvent.DISCARD:
            self._discard()
        elif event.event in OUTCOMES:
            self._put(source, data, now_ns(self), always=True)
            self._outcome = OUTCOMES[event.event]
            self._linger = self.create_timer(
                LINGER, self._finish, clock=Clock(clock_type=ClockType.STEADY_TIME)
            )
        else:
            self._log.warning(
                f"event {event.event} of episode {event.episode_id!r} ignored: unknown"
            )

    def _put(
        self, source: _Source, data: bytes, stamp_ns: int, *, always: bool = False
    ) -> None:
        if self._writer is None:
            return
        if source.topic is None:
            source.topic = self._describe(source)
        self._writer.put(source.topic, data, stamp_ns, always=always)

    def _describe(self, source: _Source) -> Topic:
        publishers = self.get_publishers_info_by_topic(source.name)
        offered = offered_qos(publisher.qos_profile for publisher in publishers)
        return Topic(
            source.name,
            source.type_name,
            message_definition(source.type_name),
            type_hash(source.type_name),
            offered,
        )

    # --- episodes -------------------------------------------------------------------------------------------

    def _start(self, event: EpisodeEvent) -> None:
        if event.episode_id == self._episode and self._episode:
            self._log.warning(f"episode {self._episode} is being recorded already")
            return
        if self._episode:
            if not self._outcome:
                self._log.warning(
                    f"episode {self._episode} has no end event; closed as stop"
                )
            self._finish("stop")
        custom = {
            "episode_id": event.episode_id,
            "task": event.task,
            "operator": self._operator,
            "control_rate": str(CONTROL_RATE),
            "camera": next(iter(self._cameras)),
            "cameras": ",".join(self._cameras),
            "camera_latency": ",".join(map(str, self._cameras.values())),
            "text": event.text,
            "version": importlib.metadata.version("widowx_bringup"),
        }
        try:
            bag = BagWriter(
                self._directory, event.episode_id, custom, chunk_bytes=self._chunk_bytes
            )
        except PtrError as error:
            self._fail(f"episode {event.episode_id!r} is not recorded: {error}")
            return
        self._error = ""
        self._episode = event.episode_id
        self._writer = BackgroundWriter(bag, self._queue_bytes)
        self._log.info(f"recording episode {self._episode} ({event.task})")
        self._write_pre_roll()

    def _write_pre_roll(self) -> None:
        now = now_ns(self)
        for source in self._sources:
            source.topic = None
            for data, stamp_ns in source.recent:
                if 0 <= now - stamp_ns <= PRE_ROLL_NS + source.lead_ns:
                    self._put(source, data, stamp_ns)

    def _finish(self, outcome: str = "") -> None:
        """Close the running bag with the outcome of its end event, else with the one given."""
        if self._linger is not None:
            self.destroy_timer(self._linger)
            self._linger = None
        if self._writer is not None:
            self._writer.finish({"outcome": self._outcome or outcome})
            self._finishing.append(self._writer)
        self._writer, self._episode, self._outcome = None, "", ""

    def _discard(self) -> None:
        self._log.info(f"episode {self._episode} thrown away")
        if self._writer is not None:
            self._writer.discard()
            self._finishing.append(self._writer)
        self._writer, self._episode = None, ""

    def _fail(self, reason: str) -> None:
        self._error = reason
        self._log.error(reason)

    # --- state ----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Take note of the bags that are complete or failed meanwhile."""
        for writer in filter(None, [*self._finishing, self._writer]):
            if writer.error and writer.error not in self._told:
                self._told.add(writer.error)
                self._fail(writer.error)
        for writer in [writer for writer in self._finishing if not writer.running]:
            self._finishing.remove(writer)
            if writer.path is not None:
                self._bags += 1
                lost = f", {writer.dropped.total()} dropped" if writer.dropped else ""
                self._log.info(f"{writer.path}: {writer.bag.messages} messages{lost}")

    def _health(self) -> Health:
        self._collect()
        writer = self._writer
        dropped = writer.dropped.total() if writer else 0
        state = "recording" if writer else "finishing" if self._finishing else "idle"
        values = {
            "state": state,
            "episode_id": self._episode,
            "messages": writer.bag.messages if writer else 0,
            "dropped": dropped,
            "bags": self._bags,
            "directory": self._directory,
            "hears": " ".join(sorted(self._hears)),
        }
        if self._error:
            return Health(DiagnosticStatus.ERROR, self._error, values)
        if writer and dropped:
            topics = ", ".join(
                f"{topic} {count}" for topic, count in writer.dropped.most_common()
            )
            return Health(
                DiagnosticStatus.WARN, f"disk too slow, messages dropped: {topics}", values
            )
        if silent := [
            source.name for source in self._sources if source.needed and not source.recent
        ]:
            return Health(
                DiagnosticStatus.WARN, f"nothing has arrived on {', '.join(silent)}", values
            )
        return Health(DiagnosticStatus.OK, state, values)

    def destroy_node(self) -> None:
        """Finish what is being recorded as `interrupted` and wait until it is on the disk."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(
                number, signal.SIG_IGN
            )  # a second Ctrl-C must not cost the episode
        self._finish("interrupted")
        for writer in list(self._finishing):
            writer.join()
        self._log = get_logger(
            "recorder"
        )  # the node's own would publish, which is over once ROS is shut down
        self._collect()
        super().destroy_node()


def offered_qos(profiles: Iterable[QoSProfile]) -> str:
    """Return publishers' profiles as rosbag2 writes them up to metadata version 8: a YAML list in a string."""

    def duration(value: int) -> dict[str, int]:
        return {"sec": value // 1_000_000_000, "nsec": value % 1_000_000_000}

    entries = [
        {
            "history": int(profile.history),
            "depth": profile.depth,
            "reliability": int(profile.reliability),
            "durability": int(profile.durability),
            "deadline": duration(profile.deadline.nanoseconds),
            "lifespan": duration(profile.lifespan.nanoseconds),
            "liveliness": int(profile.liveliness),
            "liveliness_lease_duration": duration(
                profile.liveliness_lease_duration.nanoseconds
            ),
            "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
        }
        for profile in profiles
    ]
    return yaml.safe_dump(entries, sort_keys=False).strip() if entries else ""


def main() -> None:
    """Run the node."""
    sys.exit(run(RecorderNode))


if __name__ == "__main__":
    main()
