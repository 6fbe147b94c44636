"""Settings of all tests."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

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


GRAPH = "graph"
"""Group of the tests that use ROS."""


@cache
def group(path: Path) -> str:
    """Return the group of a test file, whose tests one process runs, in their order.

    All tests that use ROS are one group: their nodes wait for each other in real time, and
    none should wait for the nodes of a neighbour.
    """
    return GRAPH if "rclpy" in path.read_text() else path.as_posix()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tell pytest-xdist, where it is used, which tests belong together (`make test`)."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(group(item.path)))
