"""`ptr demo`: stages that fail, runs that go on, and a stop that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from widowx_bringup.evaluation.demo import DemoError, load_or_start, main, run_stage
from widowx_bringup.evaluation.demo_stages import Stage
from widowx_bringup.graph.run_ptr import CommandError
from widowx_bringup.sim.tasks import TaskError


def test_a_failing_command_ends_the_stage_and_stops_the_other_chain(tmp_path: Path) -> None:
    stage = Stage("both", [[["no-such-verb"]], [["no-such-verb"], ["never-reached"]]])
    with pytest.raises(CommandError, match="no-such-verb"):
        asyncio.run(run_stage(stage, tmp_path))
    assert "never-reached" not in "".join(
        path.read_text() for path in tmp_path.glob("*.log")
    )


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DemoError, match="other files"):
        load_or_start(tmp_path, "smoke", "t", 0)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_interrupted_run_goes_on_and_a_finished_one_starts_anew(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = load_or_start(out, "smoke", "t", 0)
    first.stages[0].done, first.stages[0].seconds = True, 7.0
    first.save()
    again = load_or_start(out, "smoke", "t", 0)
    assert [stage.done for stage in again.stages] == [True, False, False, False, False]
    assert again.stages[0].seconds == 7.0
    for stage in again.stages:
        stage.done = True
    again.save()
    (out / "old.txt").write_text("from the finished run")
    assert not any(stage.done for stage in load_or_start(out, "smoke", "t", 0).stages)
    assert not (out / "old.txt").exists()


def test_another_plan_does_not_resume(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = load_or_start(out, "smoke", "t", 0)
    first.stages[0].done = True
    first.save()
    assert json.loads((out / "demo.json").read_text())["seed"] == 0
    assert not any(stage.done for stage in load_or_start(out, "smoke", "t", 1).stages)


def processes_naming(path: Path) -> list[int]:
    """Return the processes with `path` on their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            if os.fsencode(path) in file.read_bytes():
                found.append(int(file.parent.name))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_stopped_demonstration_leaves_no_process_and_no_half_store(
    tmp_path: Path, number: int, status: int
) -> None:
    out = tmp_path / "demo"
    command = [
        sys.executable,
        "-m",
        "ptr_common.cli",
        "demo",
        "--preset",
        "smoke",
        "--out",
        str(out),
    ]
    demonstration = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: bool(list(out.glob(".prior.*"))))  # its first command is at work
    demonstration.send_signal(number)
    assert demonstration.wait(60) == status
    wait_until(lambda: not processes_naming(out))
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == [
        "demo.json"
    ]
    if number != signal.SIGKILL:
        assert not list(out.glob(".prior.*"))


def test_a_wrong_task_is_refused_before_anything_is_set_up(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    with pytest.raises(TaskError, match="did you mean 'put the yellow cube on the white"):
        main(["--task", "put the yelow cube on the white plate", "--out", str(out)])
    assert not out.exists()


def test_importing_the_demonstration_imports_nothing_heavy() -> None:
    code = (
        "import sys, widowx_bringup.evaluation.demo; "
        "heavy = {'torch', 'mujoco', 'rclpy', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
