"""Offline training for PTR: bags and prior data to episodes, agents, checkpoints and bundles. No ROS."""
