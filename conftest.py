"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Every test of ROS stays on this machine, in one domain; set before any test module is imported.
os.environ |= {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_STATIC_PEERS": "",
    "ROS_DOMAIN_ID": str(1 + os.getpid() % 99),
}

# Examples of hypothesis have no time limit: a slow machine is not a fault of the code.
settings.register_profile("ptr", deadline=None)
settings.load_profile("ptr")
