"""A bag written by its own thread, so that a slow disk never holds up the subscriptions."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path

from .bag_writer import BagWriter, Topic

FLUSH_PERIOD = 1.0
"""Longest time a message waits in memory [s]: what a killed recorder loses at most."""


class BackgroundWriter:
    """Queues messages, bounded in bytes, and writes them into a bag.

    What does not fit into the queue is dropped and counted by topic; the counts also go
    into the bag's custom data. After a write error everything is dropped and `error` says
    why.

    Args:
        bag: The bag to fill; owned from now on.
        queue_bytes: Most bytes waiting at a time.
    """

    def __init__(self, bag: BagWriter, queue_bytes: int) -> None:
        self.bag = bag
        self.dropped: Counter[str] = Counter()
        self.error = ""
        self.path: Path | None = None  # of the complete bag, once there is one
        self._limit = queue_bytes
        self._waiting: deque[tuple[Topic, bytes, int]] = deque()
        self._bytes = 0
        self._last_words: Mapping[str, str] | None = None
        self._discard = False
        self._changed = threading.Condition()
        # Not a daemon: the interpreter must wait for it, or a finished episode could be
        # lost at exit.
        self._thread = threading.Thread(target=self._work, name=f"bag {bag.path.name}")
        self._thread.start()

    def put(
        self, topic: Topic, data: bytes, log_time_ns: int, *, always: bool = False
    ) -> None:
        """Queue one message; `always` lets it in even where the queue is full (events are few and small)."""
        with self._changed:
            if self.error or (self._bytes + len(data) > self._limit and not always):
                self.dropped[topic.name] += 1
                return
            self._waiting.append((topic, data, log_time_ns))
            self._bytes += len(data)
            self._changed.notify()

    def finish(self, custom: Mapping[str, str]) -> None:
        """Let the thread write what waits, then complete the bag with more custom data; returns at once."""
        with self._changed:
            self._last_words = custom
            self._changed.notify()

    def discard(self) -> None:
        """Let the thread throw the recording away; returns at once."""
        with self._changed:
            self._discard = True
            self._changed.notify()
            if self.error:  # the thread has ended
                self.bag.discard()

    def join(self) -> None:
        """Wait until the bag is complete, thrown away or given up."""
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether the thread has still something to do."""
        return self._thread.is_alive()

    def _work(self) -> None:
        try:
            while self._write_waiting():
                pass
            if self._discard:
                self.bag.discard()
            else:
                self.path = self.bag.finish({**(self._last_words or {}), **self._losses()})
        except Exception as error:  # whatever it is, the node lives on and says so
            self.bag.abandon()
            with self._changed:
                self.error = f"{self.bag.path.name}: recording stopped: {error}"
                self.dropped.update(topic.name for topic, _, _ in self._waiting)
                self._waiting.clear()
                if self._discard:
                    self.bag.discard()

    def _write_waiting(self) -> bool:
        """Write what arrives until the next flush is due; return whether more may come."""
        deadline = time.monotonic() + FLUSH_PERIOD
        while (left := deadline - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._waiting or self._discard or self._last_words is not None,
                    left,
                )
                if self._discard or not (self._waiting or self._last_words is None):
                    return False
                if not self._waiting:
                    break
                topic, data, log_time_ns = self._waiting.popleft()
                self._bytes -= len(data)
            self.bag.write(topic, data, log_time_ns)
        self.bag.flush()
        return True

    def _losses(self) -> dict[str, str]:
        losses = {
            f"dropped {topic}": str(count) for topic, count in sorted(self.dropped.items())
        }
        return {"dropped": str(self.dropped.total()), **losses}
