"""Updates that are captured and replayed are those that run one by one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from recorded_graph import RecordedGraph, Recorder
from small_agents import make_agent, make_batch

from ptr_training import agents
from ptr_training.agents import Agent
from ptr_training.data.augment import apply_masked
from ptr_training.errors import TrainingError
from ptr_training.training import accelerate
from ptr_training.training.accelerate import CapturedUpdate, make_update

AGENTS: dict[str, dict[str, Any]] = {
    "bc": {"name": "bc", "decay_steps": 8},
    "awbc": {"name": "awbc"},
    "autoregressive": {"name": "autoregressive", "bins": 11, "beam": 3},
    "bet": {
        "name": "bet",
        "window": 3,
        "bins": 5,
        "layers": 1,
        "width": 12,
        "dropout": 0.0,
    },
    "cql": {"name": "cql", "decay_steps": 6, "n_batch_actions": 2},
    "cql-phases": {"name": "cql", "shared_encoder": True, "clone_steps": 5},
    "weighted": {"name": "cql_weighted", "clone_steps": 5, "judge_steps": 5},
    "cql-schedule": {"name": "cql", "gap": "schedule", "alpha": 2.0, "alpha_steps": 9},
    "cql-lagrange": {"name": "cql", "gap": "lagrange", "alpha_lr": 0.1},
    "cql-classes": {"name": "cql", "value_loss": "hl_gauss", "value_bins": 11},
    "calql": {"name": "calql"},
    "iql": {"name": "iql", "decay_steps": 8},
    "flow": {"name": "flow", "chunk": 4, "execute": 1, "flow_steps": 3},
    "macaw": {"name": "macaw", "tasks": 2, "transform": 4},
    "mae": {"name": "mae", "patch": 4, "width": 24, "layers": 1, "decoder_width": 12},
}
PHASES = {"cql-phases": 2, "weighted": 3}


def test_every_agent_is_replayed_here() -> None:
    assert {values["name"] for values in AGENTS.values()} == set(agents.AGENTS)


def agent_of(name: str) -> Agent:
    """Return an agent whose update looks at no tensor, as on a GPU."""
    agent = make_agent(AGENTS[name])
    agent.augmentation._change = apply_masked
    return agent


def losses(agent: Agent, update: accelerate.Update, first: int, last: int) -> list[float]:
    """Return the losses of updates on batches of these seeds."""
    sampling = agent.config.sampling
    batches = [make_batch(seed, sampling=sampling) for seed in range(first, last)]
    return [float(update(batch)["loss"]) for batch in batches]


def test_a_cpu_runs_updates_as_they_are_unless_told_otherwise() -> None:
    agent = make_agent({"name": "bc"})
    assert make_update(agent, "auto") == agent.update
    assert make_update(agent, "off") == agent.update
    assert isinstance(agent.optimizers["actor"].param_groups[0]["lr"], float)


def test_a_graph_without_a_gpu_is_refused() -> None:
    with pytest.raises(TrainingError, match="accelerate is graph, on cpu with 1 processes"):
        make_update(make_agent({"name": "bc"}), "graph")


@pytest.mark.parametrize("name", AGENTS)
def test_replayed_updates_are_those_that_run_one_by_one(name: str) -> None:
    plain, replayed = agent_of(name), agent_of(name)
    plain.make_capturable()
    graph = RecordedGraph(replayed)
    update = CapturedUpdate(replayed, graph)
    assert losses(replayed, update, 0, 15) == losses(plain, plain.update, 0, 15)
    assert replayed.steps == plain.steps == 15
    assert graph.captures == PHASES.get(name, 1)
    after = replayed.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize("name", AGENTS)
def test_an_update_needs_nothing_of_the_host(name: str) -> None:
    agent = agent_of(name)
    for _ in range(12):
        agent.update(make_batch(sampling=agent.config.sampling))
    batch = make_batch(sampling=agent.config.sampling)
    with Recorder() as recorder:
        agent.learn(
            batch
        )  # with rates that are numbers: a CPU's Adam reads those in tensors
    reads = {
        "aten._local_scalar_dense.default",
        "aten.nonzero.default",
        "aten.equal.default",
    }
    writes = {"aten.lift_fresh.default", "aten.masked_select.default"}
    assert not recorder.names & (reads | writes)


@pytest.mark.parametrize("accelerated_first", [True, False])
def test_a_checkpoint_passes_between_replayed_and_plain_updates(
    accelerated_first: bool,
) -> None:
    def updates(agent: Agent, accelerated: bool) -> accelerate.Update:
        return CapturedUpdate(agent, RecordedGraph(agent)) if accelerated else agent.update

    whole, first, second = (agent_of("cql-phases") for _ in range(3))
    expected = losses(whole, whole.update, 0, 14)
    found = losses(first, updates(first, accelerated_first), 0, 9)
    state = copy.deepcopy(first.state())
    second.load_state(state)
    found += losses(second, updates(second, not accelerated_first), 9, 14)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    group = first.optimizers["actor"].param_groups[0]
    assert isinstance(group["lr"], torch.Tensor) == accelerated_first


def test_a_rate_of_the_configuration_beats_that_of_a_replayed_checkpoint() -> None:
    replayed, plain = agent_of("cql"), make_agent({"name": "cql", "actor_lr": 0.5})
    replayed.make_capturable()
    plain.load_state(replayed.state())
    assert plain.optimizers["actor"].param_groups[0]["lr"] == 0.5
    assert plain.optimizers["actor"].param_groups[0]["capturable"] is False


def test_an_update_that_cannot_be_captured_runs_without_and_says_so_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Refusing(RecordedGraph):
        def capture(self, work: Any) -> Any:
            self.agent.rng.normal((3,))  # a capture may leave the generator in any state
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    plain, refused = agent_of("cql-phases"), agent_of("cql-phases")
    plain.make_capturable()
    update = CapturedUpdate(refused, Refusing(refused))
    assert losses(refused, update, 0, 12) == losses(plain, plain.update, 0, 12)
    said = capsys.readouterr().err
    assert said.count("cannot be captured as a CUDA graph (operation not permitted") == 1


def test_a_compiler_that_fails_is_named_and_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(work: Any) -> Any:
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", no_compiler)
    agent = make_agent({"name": "bc"})
    assert make_update(agent, "compile") == agent.update
    assert agent.encoder._compiled_call_impl is None
    assert (
        "torch.compile does not work here (no C++ compiler found)"
        in capsys.readouterr().err
    )


def test_metrics_of_a_replay_survive_the_next_one() -> None:
    agent = agent_of("bc")
    update = CapturedUpdate(agent, RecordedGraph(agent))
    history = [update(make_batch(seed)) for seed in range(8)]
    values = [float(metrics["loss"]) for metrics in history]
    assert len(set(values)) == len(values)


def test_a_batch_of_another_shape_is_an_error() -> None:
    agent = agent_of("bc")
    update = CapturedUpdate(agent, RecordedGraph(agent))
    update(make_batch())
    batch = make_batch()
    with pytest.raises(RuntimeError):
        update(replace(batch, task=batch.task[:5]))
