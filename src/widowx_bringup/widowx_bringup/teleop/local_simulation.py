"""Finds a simulated graph, which hides from other computers and from nodes that look at them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ptr_common.managed_node import end_limit
from ptr_msgs.srv import ResetScene
from widowx_bringup.graph.environment import environment

from .node import TeleopNode

LOOK_PERIOD = 0.5
"""Time between two looks [s]."""

LOCAL = {"use_sim": "true"}
"""Arguments of a graph whose nodes hear this computer only."""


class LocalSimulation:
    """Looks for a simulated graph on this computer, until the node of a person hears a real arm.

    Args:
        node: The person's node.
        on_found: Called once a simulated graph is there.
    """

    def __init__(self, node: TeleopNode, on_found: Callable[[], object]) -> None:
        self._person = node
        self._on_found = on_found
        self._context = rclpy.Context()
        with _variables(environment(LOCAL)):  # how far a node hears is read when it starts
            rclpy.init(
                args=[],
                context=self._context,
                signal_handler_options=SignalHandlerOptions.NO,
            )
            self._node = Node(
                "teleop_look",
                context=self._context,
                namespace=node.get_namespace(),
                enable_rosout=False,
                start_parameter_services=False,
            )
        self._client = self._node.create_client(ResetScene, "sim/reset")
        self._timer = node.create_timer(LOOK_PERIOD, self._look)

    def _look(self) -> None:
        hears_real_arm = self._person.link.state and not self._person.beginning.simulated
        if hears_real_arm:
            self._timer.cancel()
        elif self._client.service_is_ready():
            self._timer.cancel()
            self._on_found()

    def close(self) -> None:
        """Leave the graph, in a time as limited as that of any node."""
        end_limit.start()
        self._node.destroy_node()
        self._context.try_shutdown()
        end_limit.stop()


@contextlib.contextmanager
def _variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
