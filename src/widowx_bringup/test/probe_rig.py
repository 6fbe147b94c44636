"""A node under test and a probe on one executor, for tests over real DDS."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rclpy may be missing: then the tests are skipped
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node


class ProbeRig:
    """Spins the node under test and a probe in the thread of the test."""

    node: Any  # under test
    probe: Node
    executor: SingleThreadedExecutor

    def add_nodes(self) -> None:
        """Put both nodes on one executor."""
        from rclpy.executors import SingleThreadedExecutor

        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.probe):
            self.executor.add_node(node)

    def close(self) -> None:
        """Destroy both nodes."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.probe.destroy_node()

    def until(self, condition: Callable[[], object], limit: float = 15.0) -> None:
        """Spin both nodes until a condition holds.

        Args:
            condition: What is waited for.
            limit: Longest wait [s].
        """
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.executor.spin_once(timeout_sec=0.05)
