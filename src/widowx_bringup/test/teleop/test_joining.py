"""Whether a person's node has to look for a simulated graph."""

from __future__ import annotations

import pytest

from widowx_bringup.graph.environment import environment
from widowx_bringup.teleop.joining import _hears_this_computer_only


def test_a_shell_that_keeps_to_this_computer_needs_no_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment({"use_sim": "true"}).items():
        monkeypatch.setenv(name, value)
    assert _hears_this_computer_only()
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"):
        monkeypatch.delenv(name, raising=False)
    assert not _hears_this_computer_only()
