"""Starts the arm's driver and ends it last: it switches the servos' torque off, and an arm that is still up falls.

Ctrl-C reaches all nodes at once. The driver therefore runs in a session of its own, and
gets the signal from here once the arm node, which brings the arm to its sleep pose first,
is gone.
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
from ptr_common.managed_node import parameter, run

ARM_NODE = "arm_node"

REST_LIMIT = 25.0
"""Longest wait for the arm node to end [s]."""

GRACE = ((signal.SIGINT, 10.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 1.0))
"""Signals to end the driver, each with the time it is given [s]."""


class DriverKeeper(Node):
    """Runs one command, and ends with it."""

    def __init__(self, **options: Any) -> None:
        super().__init__("driver_keeper", **options)
        command = list(parameter(self, "command", [""], "the driver's command line"))
        try:
            # Not ended with this process: should that be killed, the servos at least keep
            # their torque.
            self.driver = subprocess.Popen(command, start_new_session=True)
        except OSError as error:
            raise PtrError(
                f"the driver cannot be started ({error}): {' '.join(command)}"
            ) from error
        self.create_timer(0.2, self._check)

    def _check(self) -> None:
        if (status := self.driver.poll()) is not None:
            raise PtrError(
                f"the arm's driver ended with status {status}; its own words are above"
            )

    def destroy_node(self) -> None:
        """Wait for the arm node to end, then end the driver."""
        deadline = time.monotonic() + REST_LIMIT
        while (
            self._arm_is_up() and self.driver.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.1)
        for number, patience in GRACE:
            if self.driver.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.driver.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.driver.wait(patience)
        super().destroy_node()

    def _arm_is_up(self) -> bool:
        return (ARM_NODE, self.get_namespace()) in self.get_node_names_and_namespaces()


def main() -> int:
    """Run the keeper."""
    return run(DriverKeeper)


if __name__ == "__main__":
    sys.exit(main())
