"""ROS 2 bags to episodes: reading, alignment, decoding, audit and `ptr export`."""
