"""Which threads wait when cores are scarce."""

from __future__ import annotations

import os
import threading

LOWER = 5
"""By how much the niceness of a thread rises whose work may wait."""


def lower_priority() -> None:
    """Give all other threads precedence over this one when cores are scarce."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + LOWER)
