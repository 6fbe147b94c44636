"""ROS for the tests of nodes: started for each test, ended after it, never beyond this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def ros() -> Iterator[None]:
    import rclpy

    rclpy.init()
    yield
    rclpy.shutdown()
