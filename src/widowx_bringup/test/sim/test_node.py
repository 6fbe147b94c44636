"""The simulation as a node: the scene that it starts with; test/arm/test_node.py has the rest."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from arm_node_rig import Rig
from std_srvs.srv import Trigger

from ptr_common.errors import PtrError
from widowx_bringup.sim.tasks import TARGET_TASK


def test_it_starts_with_a_scene_whose_task_is_not_solved(ros: None) -> None:
    with contextlib.closing(Rig()) as rig:
        layout = rig.node.world.layout
        assert (layout.task, layout.seed) == (TARGET_TASK, 0)
        answer = rig.call(Trigger, "sim/outcome")
        assert (answer.success, answer.message) == (False, "not solved")


def test_its_first_scene_can_be_chosen(ros: None) -> None:
    task = "put the red cube in the grey tray"
    with contextlib.closing(Rig(start=False, scene_task=task, scene_seed=7)) as rig:
        layout = rig.node.world.layout
        assert (layout.task, layout.seed) == (task, 7)


def test_a_scene_of_an_unknown_task_is_refused_with_the_nearest_name(ros: None) -> None:
    with pytest.raises(PtrError, match=f"did you mean '{TARGET_TASK}'"):
        Rig(start=False, scene_task="put the yelow cube on the white plate")


def test_states_are_even_in_the_time_of_the_world_while_its_callbacks_are_late(
    ros: None,
) -> None:
    with contextlib.closing(Rig()) as rig:
        stamps: list[int] = []
        enough = threading.Event()
        publish = rig.node.publish_state

        def noting() -> None:
            stamps.append(rig.node.world.time_ns)
            publish()
            if len(stamps) == 6:
                enough.set()

        rig.node.publish_state = noting  # type: ignore[method-assign]
        assert enough.wait(15.0)  # nothing spins the node meanwhile
    assert set(np.diff(stamps[:6]).tolist()) == {50_000_000}
