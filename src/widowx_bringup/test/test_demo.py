from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from widowx_bringup import demo
from widowx_bringup.demo import PLANS, DemoError, Stage, build_stages, load_or_start, run_stage


def verb(commands: list[list[str]]) -> list[str]:
    return [command[0] for command in commands]


def test_the_loop_runs_from_prior_data_to_evaluation(tmp_path):
    stages = build_stages(tmp_path, "put the red cube on the blue plate", 0, PLANS["full"])
    ptr, bc, target_only = stages[3].chains
    assert verb(ptr) == verb(bc) == ["pretrain", "finetune", "select", "bundle"]
    assert verb(target_only) == ["finetune", "select", "bundle"]
    assert [verb(stage.chains[0])[0] for stage in stages] == ["collect", "record", "export", "pretrain", "evaluate"]


def test_every_method_takes_the_same_number_of_gradient_steps(tmp_path):
    plan = PLANS["full"]
    chains = build_stages(tmp_path, "t", 0, plan)[3].chains
    steps: dict[str, int] = {}
    for command in (command for chain in chains for command in chain if "--steps" in command):
        method = Path(command[command.index("--out") + 1]).parent.name
        steps[method] = steps.get(method, 0) + int(command[command.index("--steps") + 1])
    assert set(steps) == set(demo.METHODS)
    assert set(steps.values()) == {plan.pretrain_steps + plan.finetune_steps}


def test_a_failing_command_ends_the_stage_and_stops_the_other_chain(tmp_path):
    stage = Stage("both", [[["no-such-verb"]], [["no-such-verb"], ["never-reached"]]])
    with pytest.raises(DemoError, match="no-such-verb"):
        asyncio.run(run_stage(stage, tmp_path))
    assert "never-reached" not in "".join(path.read_text() for path in tmp_path.glob("*.log"))


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DemoError, match="other files"):
        load_or_start(tmp_path, "smoke", "t", 0)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_interrupted_run_goes_on_and_a_finished_one_starts_anew(tmp_path):
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


def test_another_plan_does_not_resume(tmp_path):
    out = tmp_path / "demo"
    first = load_or_start(out, "smoke", "t", 0)
    first.stages[0].done = True
    first.save()
    assert json.loads((out / "demo.json").read_text())["seed"] == 0
    assert not any(stage.done for stage in load_or_start(out, "smoke", "t", 1).stages)


PARENT = """
import asyncio, sys
from pathlib import Path
from widowx_bringup import demo
program = "import time; print('up', flush=True); time.sleep(600)"
real = asyncio.create_subprocess_exec
async def start(*_, **pipes):
    process = await real(sys.executable, "-c", program, **pipes)
    print(process.pid, flush=True)
    return process
asyncio.create_subprocess_exec = start
asyncio.run(demo.run_stage(demo.Stage("wait", [[["x"]]]), Path(".")))
"""


def test_ctrl_c_leaves_no_command_running(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, ready = 0, False
    while not (child and ready):
        line = parent.stdout.readline().strip()
        assert line, "the stage ended by itself"
        child, ready = (int(line), ready) if line.isdigit() else (child, ready or line == "up")
    parent.send_signal(signal.SIGINT)
    assert parent.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
