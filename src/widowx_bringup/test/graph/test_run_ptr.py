"""Commands of ptr as processes: order, logs, failure, and a stop that lets them save."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from widowx_bringup.graph.run_ptr import CommandError, run_commands


@pytest.fixture
def slow_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in place of ptr that needs a moment to save when it is asked to stop."""
    program = tmp_path / "program"
    lines = [
        f"cd {tmp_path}",
        "trap 'sleep 0.5; touch saved; exit 143' TERM",
        "touch started",
    ]
    program.write_text("\n".join(["#!/bin/sh", *lines, "while :; do sleep 0.05; done", ""]))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return tmp_path


def test_a_cancelled_command_saves_even_if_cancelled_twice(slow_to_stop: Path) -> None:
    async def interrupt() -> None:
        task = asyncio.create_task(
            run_commands([["pretrain"], ["finetune"]], slow_to_stop / "log")
        )
        while not (slow_to_stop / "started").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(interrupt(), 30))
    assert (slow_to_stop / "saved").exists()


def test_a_failed_command_ends_the_chain_and_names_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(
        CommandError, match=r"`ptr nonsense` ended with status 2; see .*log"
    ):
        asyncio.run(run_commands([["nonsense"], ["doctor"]], log))
    assert "no verb 'nonsense'" in log.read_text()
    with pytest.raises(CommandError):
        asyncio.run(run_commands([["nonsense"]], log, append=True))
    assert log.read_text().count("no verb 'nonsense'") == 2
