"""The thread that owns a device."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

LATEST_START = 0.1
"""A device thread that falls further behind than this [s] leaves ticks out instead of catching up in a burst."""


class DeviceThread(threading.Thread):
    """Does everything that touches the device, one job after the other, so that no callback ever waits for it.

    Between two jobs it ticks, at an even pace.

    Args:
        tick: Called every `period` seconds.
        period: See there.
    """

    def __init__(self, tick: Callable[[], None], period: float) -> None:
        super().__init__(name="device", daemon=True)
        self._tick = tick
        self._period = period
        self.error: Exception | None = None  # what ended the thread before its time
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future] | None] = (
            queue.SimpleQueue()
        )

    def submit(self, job: Callable[[], Any]) -> Future:
        """Queue a job; its result or exception appears in the returned future."""
        future: Future = Future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Finish the jobs queued so far and end the thread."""
        self._jobs.put(None)
        if self.is_alive():
            self.join(timeout=5.0)

    def run(self) -> None:
        """Work until stopped."""
        try:
            self.loop()
        except Exception as error:
            self.error = error

    def loop(self) -> None:
        """Work and tick until stopped; an exception ends the thread and, soon after, the node."""
        due = time.monotonic()
        while self._work_until(due):
            self._tick()
            due = max(due + self._period, time.monotonic() - LATEST_START)

    def _work_until(self, due: float) -> bool:
        """Do jobs until a time; return false once stopped."""
        while True:
            try:
                if not self._work(max(0.0, due - time.monotonic())):
                    return False
            except queue.Empty:
                return True

    def _work(self, timeout: float) -> bool:
        """Do the next job, waiting at most `timeout` seconds for one; return false once stopped.

        Raises:
            queue.Empty: If no job came within `timeout`.
        """
        item = self._jobs.get(timeout=timeout) if timeout > 0 else self._jobs.get_nowait()
        if item is None:
            return False
        job, future = item
        try:
            future.set_result(job())
        except Exception as error:
            future.set_exception(error)
        return True
