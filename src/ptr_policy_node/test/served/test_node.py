"""The policy node with a served policy: commands while it answers, reasons while it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")

from brightness_bundle import CAMERA, TASK, write_brightness_bundle  # noqa: E402
from policy_rig import Rig  # noqa: E402
from served_rig import Serving, describe, serving  # noqa: E402

from ptr_common.errors import PtrError  # noqa: E402
from ptr_msgs.msg import EpisodeEvent, PolicyState  # noqa: E402
from ptr_policy_node.policy import load_bundle  # noqa: E402


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    policy = load_bundle(write_brightness_bundle(tmp_path / "bundle"))
    rclpy.init()
    try:
        with serving(policy) as found:
            yield found
    finally:
        rclpy.shutdown()


def description(folder: Path, served: Serving, deadline_ms: float) -> Path:
    return describe(
        folder / "served.yaml",
        "openvla",
        served.urls["openvla"],
        tasks=[TASK],
        camera={**vars(CAMERA)},
        deadline_ms=deadline_ms,
    )


def test_it_commands_while_the_server_answers_and_waits_while_it_does_not(
    tmp_path: Path, served: Serving
) -> None:
    rig = Rig(description(tmp_path, served, 200))
    try:
        rig.start()
        rig.event(EpisodeEvent.START)
        rig.feed_until(lambda: len(rig.commands) >= 2)
        assert rig.states[-1].execution == "served openvla"
        served.server.change = lambda action: np.full_like(action, np.nan)
        rig.feed_until(lambda: "not finite" in rig.states[-1].reason)
        assert rig.states[-1].status == PolicyState.STATUS_WAITING
        sent, count = len(rig.commands), len(rig.states)
        rig.feed_until(lambda: len(rig.states) > count + 2)
        assert len(rig.commands) == sent
        health = rig.node.health()
        assert "not finite" in health.message
        assert int(str(health.values["no action: not finite"])) >= 3
        served.server.change = lambda action: action
        rig.feed_until(lambda: len(rig.commands) > sent)
        assert np.isfinite([command.action for command in rig.commands]).all()
    finally:
        rig.close()


def test_a_deadline_beyond_the_next_step_is_refused(
    tmp_path: Path, served: Serving
) -> None:
    rig = Rig(description(tmp_path, served, 201))
    try:
        with pytest.raises(PtrError, match=r"deadline_ms is 201 .* control period, 200 ms"):
            rig.start()
    finally:
        rig.close()
