"""The events of an episode, as numbers and in words, also for readers of bags without ROS."""

from __future__ import annotations

START, SUCCESS, FAILURE, DISCARD, STOP = 1, 2, 3, 4, 5
"""Values of `ptr_msgs/msg/EpisodeEvent.event`."""

END_WORDS = {SUCCESS: "success", FAILURE: "failure", DISCARD: "discarded", STOP: "stopped"}
"""What an event that ends an episode says."""
