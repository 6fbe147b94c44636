"""The thread that owns a device."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

MAX_DELAY = 0.1
"""A device thread that is later than this skips ticks instead of catching up in a burst [s]."""

STOP_LIMIT = 5.0
"""Longest wait for the thread to end [s]."""


class DeviceThread(threading.Thread):
    """Does all work on a device, one job after the other, so that no callback waits for it.

    The thread ticks at an even pace between the jobs. Jobs run in the order in which they
    were submitted, and all jobs that wait run before the next tick.

    Args:
        tick: Called every `period` seconds.
        period: Time from one tick to the next [s].

    Attributes:
        error: The exception that ended the thread; None while all is well.
    """

    def __init__(self, tick: Callable[[], None], period: float) -> None:
        super().__init__(name="device", daemon=True)
        self._tick = tick
        self._period = period
        self.error: Exception | None = None
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future] | None] = (
            queue.SimpleQueue()
        )

    def submit(self, job: Callable[[], Any]) -> Future:
        """Queue a job.

        Args:
            job: Called in the device thread.

        Returns:
            The future result or exception of the job.
        """
        future: Future = Future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Finish the jobs queued so far and end the thread.

        Jobs that are submitted later are never done.
        """
        self._jobs.put(None)
        if self.is_alive():
            self.join(timeout=STOP_LIMIT)

    def run(self) -> None:
        """Work until stopped; an exception of a tick ends the thread and, soon after, the node."""
        try:
            self.loop()
        except Exception as error:
            self.error = error

    def loop(self) -> None:
        """Work and tick until stopped."""
        due = time.monotonic()
        while self._work_until(due):
            self._tick()
            due = max(due + self._period, time.monotonic() - MAX_DELAY)

    def _work_until(self, due: float) -> bool:
        """Do jobs until a time, and all jobs that wait by then; return false once stopped.

        Args:
            due: Time on the monotonic clock [s].
        """
        while True:
            try:
                if not self._work(max(0.0, due - time.monotonic())):
                    return False
            except queue.Empty:
                return True

    def _work(self, timeout: float) -> bool:
        """Do the next job; return false once stopped.

        Args:
            timeout: Longest wait for a job [s].

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
