"""Threads whose work may wait."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from ptr_common.process.priority import LOWER, lower_priority


def niceness() -> int:
    """Return that of this thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_only_the_thread_that_asks_waits_for_the_others() -> None:
    before = niceness()
    with ThreadPoolExecutor(1, initializer=lower_priority) as pool:
        assert pool.submit(niceness).result() == min(19, before + LOWER)
    assert niceness() == before
