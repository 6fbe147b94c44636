"""Offline training for PTR: bags and prior data to episodes, checkpoints and bundles. No ROS."""
