"""What every node shares: time stamps, parameters with ranges, and its entry of /diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from . import qos
from .errors import PtrError
from .names import did_you_mean
from .topics import TOPIC_DIAGNOSTICS

PIXELS = (1, 16384)
"""Smallest and largest width and height of an image."""


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


class MessageReader:
    """Reads messages that may be malformed: counts, logs and drops those that are.

    Args:
        node: The node that reads them.

    Attributes:
        malformed: Number of malformed messages by topic.
    """

    def __init__(self, node: Node) -> None:
        self.malformed: Counter[str] = Counter()
        self._log = node.get_logger()

    def read(self, topic: str, decode: Callable[[], Any]) -> Any:
        """Return what `decode` returns; None if it finds the message malformed.

        Args:
            topic: Where the message came from.
            decode: Raises PtrError, ValueError or an error of the middleware if the message
                is malformed.
        """
        try:
            return decode()
        except (PtrError, ValueError, RuntimeError) as error:  # RuntimeError: middleware
            self.malformed[topic] += 1
            self._log.warning(
                f"malformed message on {topic} dropped: {error}", throttle_duration_sec=5.0
            )
            return None

    def check(self, health: Health) -> Health:
        """Return an entry of /diagnostics with the counts, at least a warning if there are any."""
        if not self.malformed:
            return health
        counts = {f"malformed on {topic}": count for topic, count in self.malformed.items()}
        level, message = health.level, health.message
        if level == DiagnosticStatus.OK:
            level = DiagnosticStatus.WARN
            message = f"malformed messages dropped: {', '.join(self.malformed)}"
        return Health(level, message, {**health.values, **counts})


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

    Simulated time that stands still does not stop it.

    Args:
        node: The node whose state is published.
        hardware_id: The device that the state is about.
        health: Returns the state.
        part: Name of the part that the state is about, where a node has several.
    """
    publisher = node.create_publisher(DiagnosticArray, TOPIC_DIAGNOSTICS, qos.STATE)

    def publish() -> None:
        """Publish the present state."""
        entry = health()
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

    node.create_timer(1.0, publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
