"""The numbers of events are those of the message."""

from __future__ import annotations

import pytest

from ptr_common import episode_events


def test_the_events_are_those_of_the_message() -> None:
    msg = pytest.importorskip("ptr_msgs.msg", reason="ROS 2 is not installed")
    for name in ("START", "SUCCESS", "FAILURE", "DISCARD", "STOP"):
        assert getattr(episode_events, name) == getattr(msg.EpisodeEvent, name)
    assert set(episode_events.END_WORDS) == {2, 3, 4, 5}
