"""Starts the driver of the arm and ends it after the arm node.

The driver switches the torque off when it ends, and an arm that is still up falls. Ctrl-C
reaches all nodes at once; the driver therefore runs in a separate session and gets the
signal from here, once the arm node has brought the arm to its sleep pose and is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Any

from rclpy.node import Node

from ptr_common.errors import PtrError
from ptr_common.managed_node import end_limit, parameter, run

ARM_NODE = "arm_node"
"""Name of the node that must end before the driver."""

REST_LIMIT = 25.0
"""Longest wait for the arm node to end [s]."""

GRACE = ((signal.SIGINT, 10.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 1.0))
"""Signals that end the driver, each with the time to wait for its effect [s]."""


class DriverKeeper(Node):
    """Runs one command and ends with it.

    Attributes:
        driver: The process of the command.
    """

    def __init__(self, **options: Any) -> None:
        """Start the command.

        Args:
            options: Passed on to `rclpy.node.Node`.

        Raises:
            PtrError: If the command cannot be started.
        """
        super().__init__("driver_keeper", **options)
        command = list(parameter(self, "command", [""], "command line of the driver"))
        try:
            # The driver survives a kill of this process, so that the servos keep their
            # torque.
            self.driver = subprocess.Popen(command, start_new_session=True)
        except OSError as error:
            raise PtrError(
                f"the driver cannot be started ({error}): {' '.join(command)}"
            ) from error
        self.create_timer(0.2, self._check)

    def _check(self) -> None:
        """End this node with an error once the driver has ended."""
        status = self.driver.poll()
        if status is not None:
            raise PtrError(
                f"the arm's driver ended with status {status}; see its output above"
            )

    def destroy_node(self) -> None:
        """Wait for the arm node to end, then end the driver."""
        with end_limit.paused():
            self._end_driver()
        super().destroy_node()

    def _end_driver(self) -> None:
        """Wait for the arm node to end, then send the driver the signals of `GRACE`."""
        deadline = time.monotonic() + REST_LIMIT
        while self._arm_is_up() and self._driver_runs() and time.monotonic() < deadline:
            time.sleep(0.1)
        for number, patience in GRACE:
            if not self._driver_runs():
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.driver.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.driver.wait(patience)

    def _driver_runs(self) -> bool:
        """Return whether the driver has not ended."""
        return self.driver.poll() is None

    def _arm_is_up(self) -> bool:
        """Return whether the arm node is on the graph.

        It is looked for in the namespace of this node.
        """
        return (ARM_NODE, self.get_namespace()) in self.get_node_names_and_namespaces()


def main() -> int:
    """Run the keeper."""
    return run(DriverKeeper)


if __name__ == "__main__":
    sys.exit(main())
