"""A pool of processes that Ctrl-C ends through its parent, quietly, and that never outlives it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ptr_common.errors import PtrError

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerPool(ProcessPoolExecutor):
    """Processes started afresh, since rendering and threads do not survive a fork."""

    def __init__(
        self, workers: int, initializer: Callable[..., None], *initargs: Any
    ) -> None:
        """Prepare a pool.

        Args:
            workers: Processes.
            initializer: Called once in each, with `initargs`.
        """
        context = multiprocessing.get_context("spawn")
        super().__init__(
            workers, context, initializer=_start, initargs=(initializer, initargs)
        )

    def submit(self, *args: Any, **kwargs: Any) -> Future:
        """Queue a call.

        A process that is started for it has SIGINT blocked from its first instruction.
        """
        with _signals_wait():
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return super().submit(*args, **kwargs)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Let signals wait that would raise in this block; they are handled after it.

    One that interrupted the start of a process would leave it out of the pool's account, and
    its parent would wait for it at the end. To block them is not enough: where the process has
    other threads, those receive them, and the handlers run here all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if callable(handler := signal.getsignal(number)):
            before[number] = handler
            signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in received:
            signal.raise_signal(caught)


def in_order(
    pool: Executor, work: Callable[[Job], Result], jobs: Iterable[Job], ahead: int
) -> Iterator[Result]:
    """Yield the results of jobs in their order.

    Args:
        pool: Does the work.
        work: Called with each job.
        jobs: In the order of their results.
        ahead: Most jobs that are being done, or whose results wait in memory.

    Raises:
        PtrError: If a process was killed.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise PtrError(
            "a worker was killed, most likely for want of memory; try --workers 1"
        ) from error


def _start(initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
    """Prepare a process of a pool."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer(*initargs)


def _end_with_parent() -> None:
    """End this process when the parent was killed: its results would not be used."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
