"""ROS for the tests of nodes: started for each test, ended after it, never beyond this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ |= {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_DOMAIN_ID": str(1 + os.getpid() % 99),
}


@pytest.fixture
def ros() -> Iterator[None]:
    import rclpy

    rclpy.init()
    yield
    rclpy.shutdown()
