"""What every node shares: stamps, parameters, subscriptions, and its entry of /diagnostics."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from . import qos
from .errors import PtrError
from .names import did_you_mean
from .topics import TOPIC_DIAGNOSTICS

T = TypeVar("T")

PIXELS = (1, 16384)
"""Smallest and largest width and height of an image."""

REAL_TIME = Clock(clock_type=ClockType.STEADY_TIME)
"""Clock of timers that must not stand still with simulated time."""


def to_ns(stamp: Time) -> int:
    """Return a message's stamp as integer nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_stamp(ns: int) -> Time:
    """Return integer nanoseconds as a message's stamp."""
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def now_ns(node: Node) -> int:
    """Return the time of the node's clock [ns], simulated where `use_sim_time` is set."""
    return node.get_clock().now().nanoseconds


def parameter(
    node: Node,
    name: str,
    default: Any,
    description: str,
    within: tuple[float, float] | None = None,
    *,
    settable: bool = False,
) -> Any:
    """Declare a parameter and return its value.

    Args:
        node: The node that owns the parameter.
        name: Its name.
        default: Its default, which fixes its type.
        description: Its meaning, with unit.
        within: Smallest and largest value of a number, checked now and at every change.
        settable: Whether a `ManagedNode` takes another value while it is not configured.
            Other values never change.

    Raises:
        PtrError: If the value given at start has another type or is out of range.
    """
    descriptor = ParameterDescriptor(description=description, read_only=not settable)
    if within is not None and isinstance(default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=within[0], to_value=within[1])
        ]
    elif within is not None:
        descriptor.integer_range = [
            IntegerRange(from_value=int(within[0]), to_value=int(within[1]))
        ]
    try:
        return node.declare_parameter(name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise PtrError(
            f"parameter {name} of {node.get_name()} ({description}): {error}"
        ) from error


def refuse_unknown_parameters(node: Node) -> None:
    """Check that the node declares every parameter it was given.

    Raises:
        PtrError: For the first one that it does not declare.
    """
    known = set(node._parameters)
    for name in node._parameter_overrides:
        if name not in known and not name.startswith("qos_"):
            raise PtrError(
                f"{node.get_name()} has no parameter {name!r}; "
                f"{did_you_mean(name, sorted(known))}"
            )


MALFORMED = (PtrError, ValueError, RuntimeError, MemoryError)
"""What the decoding of a malformed message raises; RuntimeError is that of the middleware."""


class MessageError(PtrError):
    """The contents of a message are none that its reader can use."""


class MalformedMessages:
    """Counts and logs the malformed messages of one node; see `malformed_messages`.

    Args:
        node: The node that drops them.

    Attributes:
        counts: Number of malformed messages by topic or service.
    """

    def __init__(self, node: Node) -> None:
        self.counts: Counter[str] = Counter()
        self._log = node.get_logger()

    def drop(self, topic: str, error: BaseException) -> None:
        """Count and log a malformed message.

        Args:
            topic: Where it came from.
            error: What is wrong with it.
        """
        self.counts[topic] += 1
        self._log.warning(
            f"malformed message on {topic} dropped: {error}", throttle_duration_sec=5.0
        )

    def check(self, health: Health) -> Health:
        """Return an entry of /diagnostics with the counts, at least a warning if there are any."""
        if not self.counts:
            return health
        counts = {f"malformed on {topic}": count for topic, count in self.counts.items()}
        level, message = health.level, health.message
        if level == DiagnosticStatus.OK:
            level = DiagnosticStatus.WARN
            message = f"malformed messages dropped: {', '.join(self.counts)}"
        return Health(level, message, {**health.values, **counts})


_malformed: WeakKeyDictionary[Node, MalformedMessages] = WeakKeyDictionary()


def malformed_messages(node: Node) -> MalformedMessages:
    """Return the counts of a node's malformed messages, which all its subscriptions share."""
    if node not in _malformed:
        _malformed[node] = MalformedMessages(node)
    return _malformed[node]


def subscribe(
    node: Node,
    kind: type[T],
    topic: str,
    callback: Callable[[T], object],
    profile: QoSProfile,
    *,
    decode: Callable[[bytes], Any] | None = None,
    on_malformed: Callable[[str], object] | None = None,
) -> Subscription:
    """Subscribe to a topic; a malformed message is counted, logged and dropped.

    Every subscription of this project is made here.

    Args:
        node: The node that subscribes.
        kind: Message class.
        topic: Name of the topic.
        callback: Called with every decoded message. A message for which it raises a
            MessageError counts as malformed, too.
        profile: Quality of service.
        decode: Makes what `callback` takes of a serialised message (CDR); by default a
            message of `kind`.
        on_malformed: Called with what is wrong, after a malformed message was dropped.
    """
    malformed = malformed_messages(node)
    name = node.resolve_topic_name(topic)
    decoded: Callable[[bytes], Any] = decode or functools.partial(_deserialise, kind)

    def drop(error: BaseException) -> None:
        malformed.drop(name, error)
        if on_malformed is not None:
            on_malformed(str(error))

    def take(data: bytes) -> None:
        """Decode a message and hand it on."""
        try:
            message = decoded(data)
        except MALFORMED as error:
            drop(error)
            return
        try:
            callback(message)
        except MessageError as error:
            drop(error)

    return node.create_subscription(kind, topic, take, profile, raw=True)


def _deserialise(kind: type[T], data: bytes) -> T:
    return deserialize_message(data, kind)


class Executor(SingleThreadedExecutor):
    """Runs the callbacks of nodes, also after malformed messages that ROS reads for them.

    Simulated time, requests of services and actions and their answers do not come through
    `subscribe`.
    Fast DDS passes over such messages by itself; other middlewares raise.
    """

    def _take_subscription(self, sub: Any) -> Any:
        return self._taken(super()._take_subscription, sub, sub.topic_name)

    def _take_service(self, srv: Any) -> Any:
        return self._taken(super()._take_service, srv, srv.srv_name)

    def _take_client(self, client: Any) -> Any:
        return self._taken(super()._take_client, client, client.srv_name)

    def _take_waitable(self, waitable: Any) -> Any:
        name = getattr(waitable, "_action_name", type(waitable).__name__)
        return self._taken(super()._take_waitable, waitable, name)

    def _taken(self, take: Callable[[Any], Any], entity: Any, name: str) -> Any:
        """Return what `take` returns; None, as for no message, if the message is malformed."""
        try:
            return take(entity)
        except MALFORMED as error:
            for node in self.get_nodes():
                if entity in (
                    *node.subscriptions,
                    *node.services,
                    *node.clients,
                    *node.waitables,
                ):
                    malformed_messages(node).drop(node.resolve_topic_name(name), error)
            return None


@dataclass
class Health:
    """The state of a node, as one entry of /diagnostics.

    Attributes:
        level: Level of `DiagnosticStatus`.
        message: One sentence.
        values: Further values by name.
    """

    level: bytes = DiagnosticStatus.OK
    message: str = "ok"
    values: Mapping[str, object] = field(default_factory=dict)


def publish_diagnostics(
    node: Node, hardware_id: str, health: Callable[[], Health], part: str = ""
) -> None:
    """Publish the result of `health` on /diagnostics once a second of real time.

    The counts of the node's malformed messages are added. Simulated time that stands still
    does not stop it.

    Args:
        node: The node whose state is published.
        hardware_id: The device that the state is about.
        health: Returns the state.
        part: Name of the part that the state is about, where a node has several.
    """
    publisher = node.create_publisher(DiagnosticArray, TOPIC_DIAGNOSTICS, qos.STATE)
    malformed = malformed_messages(node)

    def publish() -> None:
        """Publish the present state."""
        entry = malformed.check(health())
        values = []
        for key, value in entry.values.items():
            values.append(KeyValue(key=key, value=str(value)))
        status = DiagnosticStatus(
            level=entry.level,
            name=node.get_fully_qualified_name() + (f": {part}" if part else ""),
            message=entry.message,
            hardware_id=hardware_id,
            values=values,
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(1.0, publish, clock=REAL_TIME)
