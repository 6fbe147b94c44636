"""A simulated graph on this computer is found by a node that listens further, over real DDS."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from teleop_rig import Rig

from ptr_msgs.srv import ResetScene
from widowx_bringup.teleop.local_simulation import LocalSimulation


@pytest.fixture
def alone(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig(present=False)) as rig:
        yield rig


def test_a_simulation_that_the_person_does_not_hear_is_found(alone: Rig) -> None:
    variables = dict(os.environ)
    alone.node.scene._reset = alone.probe.create_client(ResetScene, "nowhere/reset")
    found: list[bool] = []
    search = LocalSimulation(alone.node, lambda: found.append(True))
    assert os.environ == variables
    alone.probe.create_service(ResetScene, "sim/reset", alone.reset)
    alone.until(lambda: found)
    search.close()


def test_once_a_real_arm_is_heard_no_simulation_is_looked_for(alone: Rig) -> None:
    found: list[bool] = []
    search = LocalSimulation(alone.node, lambda: found.append(True))
    alone.join()
    alone.until(search._timer.is_canceled)
    assert not found
    search.close()
