"""Writes a bag in a thread, so that a slow disk does not delay the subscriptions."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path

from .bag_writer import BagWriter, Topic

FLUSH_PERIOD = 1.0
"""Longest time that a message stays in memory [s]; a killed recorder loses no older ones."""


class BackgroundWriter:
    """Queues messages, bounded in bytes, and writes them into a bag.

    A message that does not fit into the queue is dropped and counted by topic; the counts
    also go into the bag's custom data. After a write error every message is dropped.

    Args:
        bag: The bag to fill; this object owns it from now on.
        queue_bytes: Largest size of the queue [bytes].

    Attributes:
        bag: The bag.
        dropped: Number of dropped messages by topic.
        error: Description of a write error; empty if there was none.
        path: Folder of the complete bag; None before it is complete.
    """

    def __init__(self, bag: BagWriter, queue_bytes: int) -> None:
        self.bag = bag
        self.dropped: Counter[str] = Counter()
        self.error = ""
        self.path: Path | None = None

        self._queue_bytes = queue_bytes
        self._queue: deque[tuple[Topic, bytes, int]] = deque()  # topic, data, log time [ns]
        self._bytes = 0  # in the queue
        self._custom: Mapping[str, str] | None = None  # None: the bag is not finished
        self._discard = False
        self._changed = threading.Condition()  # guards everything but the bag

        # Not a daemon: at exit the interpreter waits until a finished episode is written.
        self._thread = threading.Thread(target=self._work, name=f"bag {bag.path.name}")
        self._thread.start()

    def put(
        self, topic: Topic, data: bytes, log_time_ns: int, *, always: bool = False
    ) -> None:
        """Queue one message.

        Args:
            topic: Topic of the message.
            data: The serialised message (CDR).
            log_time_ns: Time of its arrival [ns].
            always: Whether a full queue takes it, too; for events, which are few and small.
        """
        with self._changed:
            is_full = self._bytes + len(data) > self._queue_bytes
            if self.error or (is_full and not always):
                self.dropped[topic.name] += 1
                return

            self._queue.append((topic, data, log_time_ns))
            self._bytes += len(data)
            self._changed.notify()

    def finish(self, custom: Mapping[str, str]) -> None:
        """Let the thread write the queue and complete the bag; returns at once.

        Args:
            custom: Further custom data of the bag.
        """
        with self._changed:
            self._custom = custom
            self._changed.notify()

    def discard(self) -> None:
        """Let the thread delete the recording; returns at once."""
        with self._changed:
            self._discard = True
            self._changed.notify()
            if self.error:  # the thread has ended
                self.bag.discard()

    def join(self) -> None:
        """Wait until the bag is complete, deleted or abandoned."""
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def _work(self) -> None:
        """Write until the bag is finished or discarded: this is the thread."""
        try:
            while self._write_queue():
                pass

            if self._discard:
                self.bag.discard()
            else:
                self.path = self.bag.finish({**(self._custom or {}), **self._losses()})
        except Exception as error:  # whatever it is, the node lives on and reports it
            self._give_up(error)

    def _write_queue(self) -> bool:
        """Write messages until the next flush is due.

        Returns:
            Whether more messages may come: False once the bag is finished and the queue is
            empty, or the recording is discarded.

        Raises:
            OSError: If the disk is full.
        """
        deadline = time.monotonic() + FLUSH_PERIOD
        while (left := deadline - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(self._has_work, left)
                if self._discard:
                    return False
                if not self._queue:
                    if self._custom is not None:
                        return False
                    break

                topic, data, log_time_ns = self._queue.popleft()
                self._bytes -= len(data)

            self.bag.write(topic, data, log_time_ns)

        self.bag.flush()
        return True

    def _has_work(self) -> bool:
        """Return whether the thread has a reason to wake up before the next flush."""
        return bool(self._queue) or self._discard or self._custom is not None

    def _give_up(self, error: Exception) -> None:
        """Leave the recording for `ptr recover` and drop the queue.

        Args:
            error: What the bag raised.
        """
        self.bag.abandon()
        with self._changed:
            self.error = f"{self.bag.path.name}: recording stopped: {error}"
            self.dropped.update(topic.name for topic, _, _ in self._queue)
            self._queue.clear()
            if self._discard:
                self.bag.discard()

    def _losses(self) -> dict[str, str]:
        """Return the numbers of dropped messages as custom data: the sum, and each topic."""
        losses = {"dropped": str(self.dropped.total())}
        for topic, count in sorted(self.dropped.items()):
            losses[f"dropped {topic}"] = str(count)
        return losses
