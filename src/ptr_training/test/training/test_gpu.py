"""Training on a GPU: captured updates, checkpoints that pass to a CPU, a capture that fails."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from small_agents import make_agent, make_batch

from ptr_training.agents import BC
from ptr_training.data.batch import Batch
from ptr_training.training.accelerate import CapturedUpdate, CudaGraph, make_update
from ptr_training.training.checkpoint import load_checkpoint
from ptr_training.training.train import pretrain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
AGENTS: dict[str, dict[str, Any]] = {
    "bc": {"name": "bc", "decay_steps": 80},
    "cql": {"name": "cql", "clone_steps": 30, "decay_steps": 60},
    "cql_weighted": {"name": "cql_weighted", "clone_steps": 30, "judge_steps": 30},
}


@pytest.mark.parametrize("name", AGENTS)
def test_a_hundred_captured_updates_are_those_that_run_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    plain, captured = (make_agent(AGENTS[name], device="cuda") for _ in range(2))
    graph = CudaGraph(captured.active.device, captured.rng.generator)
    update = CapturedUpdate(captured, graph)
    for seed in range(100):
        batch = make_batch(seed).to(torch.device("cuda"))
        expected, found = plain.update(batch), update(batch)
    assert not update._gave_up
    assert captured.steps == 100
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-3, rtol=1e-3)
    after = captured.state_dict()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(after[key], value, atol=1e-3, rtol=1e-3)


def test_an_update_that_looks_at_a_value_runs_without_a_graph(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = BC.learn

    def look(agent: BC, batch: Batch) -> Any:
        metrics = learn(agent, batch)
        return metrics if float(metrics["loss"]) < 1e9 else {}

    monkeypatch.setattr(BC, "learn", look)
    agent = make_agent({"name": "bc"}, device="cuda")
    update = CapturedUpdate(agent, CudaGraph(agent.active.device, agent.rng.generator))
    batch = make_batch().to(torch.device("cuda"))
    losses = [float(update(batch)["loss"]) for _ in range(30)]
    assert losses[-1] < losses[0]
    assert capsys.readouterr().err.count("cannot be captured as a CUDA graph") == 1


@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_and_captured_updates_learn(bf16: bool) -> None:
    agent = make_agent({"name": "cql", "clone_steps": 5}, device="cuda")
    agent.bf16 = bf16
    update = make_update(agent, "auto")
    assert isinstance(update, CapturedUpdate)
    batch = make_batch().to(torch.device("cuda"))
    history = [update(batch) for _ in range(40)]
    assert not update._gave_up
    assert float(history[-1]["td_loss"]) < float(history[8]["td_loss"])


def test_a_run_passes_from_a_gpu_to_a_cpu_and_back(
    tmp_path: Path, preset: str, make_store
) -> None:
    out = tmp_path / "run"
    command = ["--config", preset, "--data", str(make_store("prior")), "--out", str(out)]
    for steps, device in ((20, "cuda"), (25, "cpu"), (40, "cuda")):
        stage = ["--steps", str(steps), "--set", f"device={device}"]
        pretrain([*command, *stage, *(["--resume"] if out.exists() else [])])
    saved = load_checkpoint(out / "checkpoints" / "step_40.pt")
    assert saved.agent["steps"] == 40
    optimizer = saved.agent["optimizers"]["actor"]
    assert {float(state["step"]) for state in optimizer["state"].values()} == {37.0}
    rows = csv.DictReader((out / "metrics.csv").open())
    assert [int(row["step"]) for row in rows] == [*range(2, 25, 2), 25, *range(26, 41, 2)]
