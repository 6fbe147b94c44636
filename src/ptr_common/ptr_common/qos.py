"""Quality of service of every topic: its publishers and subscribers share one profile."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

COMMANDS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Requested and executed commands. Reliable, because none may be lost."""

EVENTS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Episode events. Volatile on purpose: a node that starts late must not act on an old START."""

STATE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Arm state, joint states, policy state, world state, diagnostics."""

IMAGES = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Camera images and calibration. Best effort: the next image is worth more than a late one."""

NEWEST_IMAGE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For a subscriber of the latest image only; compatible with `IMAGES`."""

NEWEST_STATE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""For a subscriber of the latest state only; compatible with `STATE`."""

STATIC = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Transforms that never change. Who subscribes later gets them too."""

CLOCK = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE
)
"""Simulated time, with the profile of the time source of every node."""
