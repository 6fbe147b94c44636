"""Runs commands of `ptr` as processes, one after the other, and leaves none behind."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ptr_common.errors import PtrError
from ptr_common.process.ptr_program import SHARED_VERBS, ptr_program

from .processes import end_with_parent

STOP_TIMEOUT = 15.0
"""Time in which an interrupted command saves its results [s]."""


class CommandError(PtrError):
    """A command failed."""


async def run_commands(
    commands: Sequence[Sequence[str]],
    log: Path | None,
    *,
    append: bool = False,
    processes: int = 1,
) -> None:
    """Run commands in order; when cancelled, let the running one save its results.

    Args:
        commands: Arguments of `ptr`.
        log: File that receives their output; None: it is shown.
        append: Keep the earlier content of the log.
        processes: Processes that share the work of a verb that trains.

    Raises:
        CommandError: If one fails; those after it are not run.
    """
    with contextlib.ExitStack() as stack:
        output: BinaryIO | None = None
        if log is not None:
            output = stack.enter_context(log.open("ab" if append else "wb"))
        for command in commands:
            words = shlex.join(command)
            print(f"  $ ptr {words}{f'   > {log}' if log else ''}", flush=True)
            shared = processes if command[0] in SHARED_VERBS else 1
            status = await _run([*ptr_program(shared), *command], output)
            if status:
                hint = f"; see {log}" if log else ""
                raise CommandError(f"`ptr {words}` ended with status {status}{hint}")


async def _run(command: Sequence[str], output: BinaryIO | None) -> int:
    """Run one command to its end; return its exit status."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, once
        preexec_fn=end_with_parent,
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Let a command save its results and stop its processes, even if cancelled meanwhile."""
    process.terminate()
    ended = asyncio.ensure_future(process.wait())
    deadline = time.monotonic() + STOP_TIMEOUT
    while not ended.done():
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            process.kill()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([ended], timeout=max(remaining, 1.0))
