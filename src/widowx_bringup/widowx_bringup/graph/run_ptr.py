"""Runs commands of `ptr` as processes, one after the other, and leaves none behind."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ptr_common.errors import PtrError

from .processes import end_with_parent

STOP_TIMEOUT = 15.0  # [s] for an interrupted command to save what it has


class CommandError(PtrError):
    """A command failed."""


async def run_commands(
    commands: Sequence[Sequence[str]], log: Path | None, *, append: bool = False
) -> None:
    """Run commands in order; cancelled, let the running one save what it has.

    Args:
        commands: Arguments of `ptr`.
        log: Takes what they print; None: it is shown.
        append: Keep what the log holds.

    Raises:
        CommandError: If one fails; those after it are not run.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab" if append else "wb")) if log else None
        for command in commands:
            print(
                f"  $ ptr {shlex.join(command)}{f'   > {log}' if log else ''}", flush=True
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ptr_common.cli",
                *command,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, once
                preexec_fn=end_with_parent,
            )
            try:
                status = await process.wait()
            finally:
                if process.returncode is None:
                    await _stop(process)
            if status:
                raise CommandError(
                    f"`ptr {shlex.join(command)}` ended with status {status}{f'; see {log}' if log else ''}"
                )


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Let a command save what it has and stop its own processes; being cancelled again meanwhile changes nothing."""
    process.terminate()
    ended = asyncio.ensure_future(process.wait())
    late = time.monotonic() + STOP_TIMEOUT
    while not ended.done():
        left = late - time.monotonic()
        if left <= 0:
            process.kill()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([ended], timeout=max(left, 1.0))
