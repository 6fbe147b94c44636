"""What every node of this system does alike: parameters, life cycle, diagnostics, start and end of the process."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from . import qos
from .errors import PtrError
from .topics import TOPIC_DIAGNOSTICS

PIXELS = (1, 16384)
"""Widths and heights that a picture may have."""

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
        default: Its default; its type is the parameter's type.
        description: What it means, with unit.
        within: Smallest and largest value of a number; what lies outside is refused, now
            and later.
        settable: Whether a `ManagedNode` takes another value while it is not configured;
            else the value is fixed.

    Raises:
        PtrError: If the value given at start has another type or lies outside.
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
    """Raise PtrError if a parameter was given that the node does not declare: a typing error, most often."""
    known = set(node._parameters)
    unknown = [
        name
        for name in node._parameter_overrides
        if name not in known and not name.startswith("qos_")
    ]
    if unknown:
        raise PtrError(
            f"{node.get_name()} has no parameter {unknown[0]!r}; there are: {', '.join(sorted(known))}"
        )


@dataclass
class Health:
    """How a node is, as one entry of /diagnostics."""

    level: bytes = DiagnosticStatus.OK
    message: str = "ok"
    values: Mapping[str, object] = field(default_factory=dict)


def publish_diagnostics(
    node: Node, hardware_id: str, health: Callable[[], Health], part: str = ""
) -> None:
    """Put the result of `health` on /diagnostics once a second of real time, even where simulated time stands.

    Args:
        node: Whose state it is.
        hardware_id: Of what it tells.
        health: Returns the state.
        part: What it is the state of, where a node has several.
    """
    publisher = node.create_publisher(DiagnosticArray, TOPIC_DIAGNOSTICS, qos.STATE)

    def publish() -> None:
        entry = health()
        values = [
            KeyValue(key=key, value=str(value)) for key, value in entry.values.items()
        ]
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


class ManagedNode(LifecycleNode):
    """A node with the life cycle of ROS 2: it opens nothing before it is configured and acts only while active.

    A subclass overrides the four hooks. What it creates in `configure` (publishers,
    subscriptions, services, timers) is destroyed when it is cleaned up. With the parameter
    `autostart`, `run` configures and activates it.

    Attributes:
        configured: Whether `configure` has succeeded.
        active: Whether the node acts.
        refusal: Why the last transition failed; empty if it did not.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Declare what all managed nodes have; a subclass declares its parameters after this.

        Args:
            name: Node name.
            options: Passed on to `rclpy.lifecycle.LifecycleNode`.
        """
        self.configured = self.active = False
        self.refusal = ""
        self._starting = False  # whoever starts the node is told why it refuses
        super().__init__(name, **options)
        self.autostart: bool = parameter(
            self, "autostart", False, "configure and activate without being told"
        )
        self._lasting: set[Any] = set()  # what is not destroyed by a clean-up
        self.add_on_set_parameters_callback(self._on_set_parameters)

    # --- hooks ----------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Open what the node needs; raises PtrError or OSError, leaving nothing open, if that is impossible."""

    def activate(self) -> None:
        """Begin to act; `active` is true from then on. Raises PtrError if that is impossible."""

    def deactivate(self) -> None:
        """Stop acting; `active` is false by then."""

    def cleanup(self) -> None:
        """Close what `configure` has opened."""

    def health(self) -> Health:
        """Return the entry of /diagnostics of the configured node."""
        return Health()

    # --- life cycle -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Configure and activate.

        Raises:
            PtrError: If either is refused; the message says why.
        """
        self._starting = True
        try:
            for trigger in (self.trigger_configure, self.trigger_activate):
                if trigger() != TransitionCallbackReturn.SUCCESS:
                    raise PtrError(self.refusal)
        finally:
            self._starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do `configure`; a node that refuses stays unconfigured."""
        self._lasting = self._entities()
        result = self._attempt(self.configure)
        self.configured = result == TransitionCallbackReturn.SUCCESS
        if not self.configured:
            self._release()
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do `activate`; a node that refuses stays inactive."""
        result = self._attempt(self.activate)
        self.active = result == TransitionCallbackReturn.SUCCESS
        if self.active:
            self.get_logger().info("active")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do `deactivate`."""
        self.active = False
        return self._attempt(self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do `cleanup` and destroy what was created since the node was configured."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and close, from whatever state."""
        if self.active:
            self.on_deactivate(state)
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close what is open after an error in this program; the node can be configured again."""
        self.active = False
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Close what is open."""
        self.active = False
        self._close()
        super().destroy_node()

    def _close(self) -> None:
        if self.configured:
            self.configured = False
            refusal = self.refusal
            self._attempt(self.cleanup)
            self.refusal = refusal or self.refusal
            self._release()

    def _attempt(self, hook: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            hook()
        except (PtrError, OSError) as error:
            self.refusal = str(error)
            if not self._starting:
                self.get_logger().error(self.refusal)
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.refusal = (
                f"an error in this program, in {hook.__name__} of {self.get_name()}"
            )
            self.get_logger().error(traceback.format_exc())  # rclpy would swallow it
            return TransitionCallbackReturn.ERROR
        self.refusal = ""
        return TransitionCallbackReturn.SUCCESS

    def _entities(self) -> set[Any]:
        kinds = (
            self.publishers,
            self.subscriptions,
            self.services,
            self.clients,
            self.timers,
            self.guards,
        )
        return {entity for kind in kinds for entity in kind}

    def _release(self) -> None:
        for entity in self._entities() - self._lasting:
            for destroy in (
                self.destroy_publisher,
                self.destroy_subscription,
                self.destroy_service,
                self.destroy_client,
                self.destroy_timer,
                self.destroy_guard_condition,
            ):
                if destroy(entity):
                    break

    # --- parameters and diagnostics -------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        """Return the present value of a parameter."""
        return self.get_parameter(name).value

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        ours = [one.name for one in parameters if one.name != "use_sim_time"]
        if not self.configured or not ours:
            return SetParametersResult(successful=True)
        reason = (
            f"{', '.join(ours)} can be set only while {self.get_name()} is not configured: "
            f"ros2 lifecycle set {self.get_fully_qualified_name()} deactivate, then cleanup"
        )
        return SetParametersResult(successful=False, reason=reason)

    def publish_health(self, hardware_id: str) -> None:
        """Put the node's state on /diagnostics from now on."""
        publish_diagnostics(self, hardware_id, self._health)

    def _health(self) -> Health:
        if self.configured:
            return self.health()
        level = DiagnosticStatus.ERROR if self.refusal else DiagnosticStatus.WARN
        return Health(level, self.refusal or "not configured")


def _begin(node: Node) -> None:
    refuse_unknown_parameters(node)
    if isinstance(node, ManagedNode) and node.autostart:
        node.start()


def run(make_node: Callable[[], Node], arguments: list[str] | None = None) -> int:
    """Make a node, spin it until told to stop, and return the exit status of the process.

    Args:
        make_node: Makes the node; called once ROS is initialised.
        arguments: Command line, `sys.argv` by default.

    Returns:
        0 after Ctrl-C or a shutdown from outside, 2 after a `PtrError`, whose text is
        logged.
    """
    node, spinning, told_to_stop = None, False, False

    def stop(number: int, frame: FrameType | None) -> None:
        # Once the node spins, it ends between two callbacks; an exception in the midst of
        # one, from Ctrl-C at any instruction, could leave anything half-done.
        nonlocal told_to_stop
        told_to_stop = True
        if not spinning:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        # rclpy's own handlers would end ROS at once, while an arm still has to be brought
        # to rest
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
        _begin(node)
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
        # A second Ctrl-C, from the terminal or from ros2 launch passing it on, must not cut
        # the cleaning up short.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
