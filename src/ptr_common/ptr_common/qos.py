"""Quality of service of every topic, once: publisher and subscriber of a topic use the same profile."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

COMMANDS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Requested and executed commands: none may be lost."""

EVENTS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Episode events. Volatile on purpose: a node that starts late must not act on an old START."""

STATE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Arm state, joint states, policy state, world state, diagnostics."""

IMAGES = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Camera images and calibration: a late picture is worth less than the next one."""

NEWEST_IMAGE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For a subscriber that wants the newest picture only; matches `IMAGES`."""

NEWEST_STATE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""For a subscriber that wants the newest state only; matches `STATE`."""

CLOCK = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE
)
"""Simulated time, as every node's time source subscribes to it."""
