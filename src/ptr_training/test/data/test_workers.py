"""The pool of processes: deaf to Ctrl-C, and gone when its parent is."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from ptr_training.data.workers import WorkerPool

PARENT = """
import os, time
from ptr_training.data.workers import WorkerPool

if __name__ == "__main__":
    pool = WorkerPool(1, os.getpid)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


def signal_mask() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_ctrl_c_is_answered_by_the_parent_alone() -> None:
    with WorkerPool(1, os.getpid) as pool:
        assert signal.SIGINT in pool.submit(signal_mask).result()
    assert signal.SIGINT not in signal_mask()


def test_a_signal_that_comes_while_a_process_starts_waits_until_the_pool_knows_it() -> None:
    seen = []

    class Interrupted(WorkerPool):
        def _spawn_process(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("begun")
            super()._spawn_process()
            seen.append("known")

    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("signal"))
    try:
        with Interrupted(1, os.getpid) as pool:
            pool.submit(os.getpid).result()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["begun", "known", "signal"]


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    ended = os.pidfd_open(worker)  # readable once the worker has ended
    parent.kill()
    parent.wait(10)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)
