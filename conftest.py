"""Settings of all tests."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Every test of ROS stays on this machine, in one domain; set before any test module is imported.
os.environ |= {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_STATIC_PEERS": "",
    "ROS_DOMAIN_ID": str(1 + os.getpid() % 99),
}

# Examples of hypothesis have no time limit: a slow machine is not a fault of the code.
settings.register_profile("ptr", deadline=None)
settings.load_profile("ptr")


ROS = re.compile("rclpy|open_session|ROS_AUTOMATIC_DISCOVERY_RANGE")
"""What only test files have that start nodes."""


@cache
def group(file: str) -> str:
    """Return the group of a test file, whose tests one process runs, in their order.

    All files that start nodes are one group: nodes wait for each other in real time, and none
    should wait for those of a neighbour.
    """
    return "graph" if ROS.search((Path(__file__).parent / file).read_text()) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return what hands the tests to several processes, group by group (`make test`)."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid.partition("::")[0])

    return Groups(config, log)
