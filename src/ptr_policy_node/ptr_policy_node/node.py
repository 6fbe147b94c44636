"""What every node of this system does alike: parameters, stamps, diagnostics, start and end of the process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from . import qos
from .spec import TOPIC_DIAGNOSTICS, PtrError

LATEST_STOP = 0.1
"""An idle node looks this often [s] whether it has been told to stop."""


def to_ns(stamp: Time) -> int:
    """Return a message's stamp as integer nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_stamp(ns: int) -> Time:
    """Return integer nanoseconds as a message's stamp."""
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def now_ns(node: Node) -> int:
    """Return the node's clock, simulated where `use_sim_time` is set."""
    return node.get_clock().now().nanoseconds


def parameter(node: Node, name: str, default: Any, description: str) -> Any:
    """Declare a parameter that is fixed once the node runs, and return its value.

    Args:
        node: The node that owns the parameter.
        name: Its name.
        default: Its default; its type is the parameter's type.
        description: What it means, with unit.

    Raises:
        PtrError: If the value given at start has another type.
    """
    try:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return node.declare_parameter(name, default, descriptor).value
    except InvalidParameterTypeException as error:
        raise PtrError(f"parameter {name} of {node.get_name()} ({description}): {error}") from error


def refuse_unknown_parameters(node: Node) -> None:
    """Raise PtrError if a parameter was given that the node does not declare: a typing error, most often."""
    known = set(node._parameters)
    unknown = [name for name in node._parameter_overrides if name not in known and not name.startswith("qos_")]
    if unknown:
        raise PtrError(f"{node.get_name()} has no parameter {unknown[0]!r}; there are: {', '.join(sorted(known))}")


@dataclass
class Health:
    """How a node is, as one entry of /diagnostics."""

    level: bytes = DiagnosticStatus.OK
    message: str = "ok"
    values: Mapping[str, object] = field(default_factory=dict)


def publish_diagnostics(node: Node, hardware_id: str, health: Callable[[], Health]) -> None:
    """Put the result of `health` on /diagnostics once a second of real time, even where simulated time stands."""
    publisher = node.create_publisher(DiagnosticArray, TOPIC_DIAGNOSTICS, qos.STATE)

    def publish() -> None:
        entry = health()
        values = [KeyValue(key=key, value=str(value)) for key, value in entry.values.items()]
        status = DiagnosticStatus(
            level=entry.level,
            name=node.get_fully_qualified_name(),
            message=entry.message,
            hardware_id=hardware_id,
            values=values,
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(1.0, publish, clock=Clock(clock_type=ClockType.STEADY_TIME))


def run(make_node: Callable[[], Node], arguments: list[str] | None = None) -> int:
    """Make a node, spin it until told to stop, and return the exit status of the process.

    Args:
        make_node: Makes the node; called once ROS is initialised.
        arguments: Command line, `sys.argv` by default.

    Returns:
        0 after Ctrl-C or a shutdown from outside, 2 after a `PtrError`, whose text is logged.
    """
    node, spinning, told_to_stop = None, False, False

    def stop(number: int, frame: FrameType | None) -> None:
        # Once the node spins, it ends between two callbacks; an exception in the midst of one, from Ctrl-C at any
        # instruction, could leave anything half-done.
        nonlocal told_to_stop
        told_to_stop = True
        if not spinning:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        # rclpy's own handlers would end ROS at once, while an arm still has to be brought to rest
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
        refuse_unknown_parameters(node)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinning = True
        while not told_to_stop:
            executor.spin_once(timeout_sec=LATEST_STOP)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except PtrError as error:
        if node is None:
            print(error, file=sys.stderr)
        else:
            node.get_logger().fatal(str(error))
        return 2
    except Exception:
        if rclpy.ok():  # else it used ROS at the moment of the shutdown
            raise
    finally:
        # A second Ctrl-C, from the terminal or from ros2 launch passing it on, must not cut the cleaning up short.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
