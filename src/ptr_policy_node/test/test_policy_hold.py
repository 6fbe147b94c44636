"""The policy node stops where Q stays below the demonstrations, if it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")

from brightness_bundle import write_brightness_bundle  # noqa: E402
from policy_rig import Rig  # noqa: E402

from ptr_common.errors import PtrError  # noqa: E402
from ptr_msgs.msg import EpisodeEvent, PolicyState  # noqa: E402
from ptr_policy_node.bundle import QBand, read_info  # noqa: E402

BAND = QBand(1, (0.2,), (0.5,))  # Q is 0.5 on a white image and 0 on a black one


def test_it_stops_for_the_episode_and_says_why(tmp_path: Path) -> None:
    bundle = write_brightness_bundle(tmp_path / "bundle", q_band=BAND)
    assert read_info(bundle).q_band == BAND
    rclpy.init()
    rig = Rig(bundle, q_hold_steps=2)
    try:
        rig.start()
        rig.event(EpisodeEvent.START)
        rig.feed_until(lambda: len(rig.commands) >= 4, brightness=255)
        rig.feed_until(
            lambda: rig.states[-1].status == PolicyState.STATUS_STOPPED, brightness=0
        )
        assert "below the demonstrations (0.2 to 0.5)" in rig.states[-1].reason
        assert rig.node.health().message == rig.states[-1].reason
        sent, count = len(rig.commands), len(rig.states)
        rig.feed_until(lambda: len(rig.states) > count + 2, brightness=255)
        assert len(rig.commands) == sent
        rig.event(EpisodeEvent.START, episode="next")
        rig.feed_until(lambda: len(rig.commands) > sent, brightness=255)
    finally:
        rig.close()
        rclpy.shutdown()


def test_without_a_band_it_is_refused(tmp_path: Path) -> None:
    rclpy.init()
    rig = Rig(write_brightness_bundle(tmp_path / "bundle"), q_hold_steps=2)
    try:
        with pytest.raises(PtrError, match=r"q_hold_steps is 2, and bundle .* has no band"):
            rig.start()
    finally:
        rig.close()
        rclpy.shutdown()
