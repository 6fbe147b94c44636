"""Nodes with a life cycle, and the process of a node from its start to its end."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from .errors import PtrError
from .node import (
    PIXELS,
    REAL_TIME,
    Executor,
    Health,
    MessageError,
    now_ns,
    parameter,
    publish_diagnostics,
    refuse_unknown_parameters,
    subscribe,
    to_ns,
    to_stamp,
)
from .process import interrupts
from .process.end_limit import end_limit

__all__ = [  # with what most nodes need beside it
    "PIXELS",
    "REAL_TIME",
    "Executor",
    "Health",
    "ManagedNode",
    "MessageError",
    "end_limit",
    "now_ns",
    "parameter",
    "publish_diagnostics",
    "run",
    "subscribe",
    "to_ns",
    "to_stamp",
]

LATEST_STOP = 0.1
"""Longest time until an idle node notices a signal to stop [s]."""


class ManagedNode(LifecycleNode):
    """A node with the life cycle of ROS 2.

    It opens nothing before it is configured, and acts only while it is active. A subclass
    overrides the four hooks. The entities it creates in `configure` (publishers, subscriptions,
    services, timers) are destroyed by its clean-up. With the parameter `autostart`, `run`
    configures and activates it.

    Attributes:
        configured: Whether `configure` has succeeded.
        active: Whether the node acts.
        refusal: Reason why the last transition failed; empty if it succeeded.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Declare the parameters of all managed nodes; a subclass declares its own afterwards.

        Args:
            name: Node name.
            options: Passed on to `rclpy.lifecycle.LifecycleNode`.
        """
        self.configured = self.active = False
        self.refusal = ""
        self._starting = False  # `start` raises a refusal instead of logging it
        super().__init__(name, **options)
        self.autostart: bool = parameter(
            self, "autostart", False, "configure and activate at once"
        )
        self._lasting: set[Any] = set()  # entities that a clean-up does not destroy
        self.add_on_set_parameters_callback(self._on_set_parameters)

    # --- hooks ---

    def configure(self) -> None:
        """Open what the node needs.

        Raises:
            PtrError: If that is impossible; nothing is open then. An OSError counts as well.
        """

    def activate(self) -> None:
        """Begin to act; `active` becomes true afterwards.

        Raises:
            PtrError: If that is impossible.
        """

    def deactivate(self) -> None:
        """Stop acting; `active` is false already."""

    def cleanup(self) -> None:
        """Close what `configure` has opened."""

    def health(self) -> Health:
        """Return the entry of /diagnostics of the configured node."""
        return Health()

    # --- life cycle ---

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
        """Do `cleanup` and destroy the entities created by `configure`."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and close, from any state."""
        if self.active:
            self.on_deactivate(state)
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close everything after an error in this program; the node can be configured again."""
        self.active = False
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Close everything."""
        self.active = False
        self._close()
        super().destroy_node()

    def _close(self) -> None:
        """Do `cleanup` once; a refusal of before is kept."""
        if self.configured:
            self.configured = False
            refusal = self.refusal
            self._attempt(self.cleanup)
            self.refusal = refusal or self.refusal
            self._release()

    def _attempt(self, hook: Callable[[], None]) -> TransitionCallbackReturn:
        """Call a hook; on an error, keep the reason as `refusal`.

        Returns:
            FAILURE if the node refuses, ERROR after a mistake of this program.
        """
        try:
            hook()
        except (PtrError, OSError) as error:
            self.refusal = str(error)
            if not self._starting:
                self.get_logger().error(self.refusal)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            if _stop.received and not _stop.spinning:  # an import that was interrupted
                raise KeyboardInterrupt from error
            self.refusal = (
                f"an error in this program, in {hook.__name__} of {self.get_name()}"
            )
            self.get_logger().error(traceback.format_exc())  # rclpy would swallow it
            return TransitionCallbackReturn.ERROR
        self.refusal = ""
        return TransitionCallbackReturn.SUCCESS

    def _entities(self) -> set[Any]:
        """Return the publishers, subscriptions, services, clients, timers and guards."""
        kinds = (
            self.publishers,
            self.subscriptions,
            self.services,
            self.clients,
            self.timers,
            self.guards,
        )
        entities: set[Any] = set()
        for kind in kinds:
            entities.update(kind)
        return entities

    def _release(self) -> None:
        """Destroy the entities that were created since the node was configured."""
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

    # --- parameters and diagnostics ---

    def value(self, name: str) -> Any:
        """Return the present value of a parameter."""
        return self.get_parameter(name).value

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        names = [item.name for item in parameters if item.name != "use_sim_time"]
        if not self.configured or not names:
            return SetParametersResult(successful=True)
        reason = (
            f"{', '.join(names)} can be set only while {self.get_name()} is not configured: "
            f"ros2 lifecycle set {self.get_fully_qualified_name()} deactivate, then cleanup"
        )
        return SetParametersResult(successful=False, reason=reason)

    def publish_health(self, hardware_id: str) -> None:
        """Publish the node's state on /diagnostics from now on."""
        publish_diagnostics(self, hardware_id, self._health)

    def _health(self) -> Health:
        if self.configured:
            return self.health()
        level = DiagnosticStatus.ERROR if self.refusal else DiagnosticStatus.WARN
        return Health(level, self.refusal or "not configured")


class _StopRequest:
    """Handles the signals to stop.

    Once the node spins, it ends between two callbacks: an exception inside a callback, at any
    instruction, could leave work half-done. A callback that never returns has `LATEST_END`.

    Attributes:
        received: Whether a signal has arrived.
        spinning: Whether the node spins; before that, a signal raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: a process may run one node after another."""
        self.received = False
        self.spinning = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        end_limit.start()
        if not self.spinning:
            raise KeyboardInterrupt


_stop = _StopRequest()
"""That of this process."""


def run(make_node: Callable[[], Node], arguments: list[str] | None = None) -> int:
    """Make a node, spin it until a signal or a shutdown, and return the process's exit status.

    Args:
        make_node: Makes the node; called once ROS is initialised.
        arguments: Command line, `sys.argv` by default.

    Returns:
        0 after Ctrl-C or a shutdown from outside, 2 after a `PtrError`, whose text is
        logged.
    """
    node = None
    end_limit.watch()
    interrupts.keep()
    _stop.forget()
    _handle_signals(_stop)
    try:
        # The handlers of rclpy would end ROS at once, before an arm is brought to rest.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
        refuse_unknown_parameters(node)
        if isinstance(node, ManagedNode) and node.autostart:
            node.start()
        _spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except PtrError as error:
        if node is None:
            print(error, file=sys.stderr)
        else:
            node.get_logger().fatal(str(error))
        return 2
    except Exception:
        # A module that was interrupted while it was imported may raise anything.
        interrupted = _stop.received and not _stop.spinning
        # Without ROS, a callback used it at the moment of the shutdown.
        if rclpy.ok() and not interrupted:
            raise
    finally:
        # A second Ctrl-C, from the terminal or through ros2 launch, must not interrupt the
        # clean-up.
        _handle_signals(signal.SIG_IGN)
        end_limit.start()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        end_limit.stop()
    return 0


def _handle_signals(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _spin(node: Node) -> None:
    """Run the callbacks of a node until a signal to stop arrives."""
    executor = Executor()
    executor.add_node(node)
    _stop.spinning = True
    while not _stop.received:
        executor.spin_once(timeout_sec=LATEST_STOP)
