"""Two processes that share every batch train what one process would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from ptr_common.cli import main
from ptr_training.data.distributed import BatchRng, DistributedContext
from ptr_training.errors import TrainingError
from ptr_training.training.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(processes),
        "--master-addr",
        "127.0.0.1",
    ]
    module = ["--master-port", str(free_port()), "-m", "ptr_common.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *launcher, *module, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def gradients(checkpoint: Checkpoint) -> list[torch.Tensor]:
    """Gradients of the first step: Adam's first moment is a tenth of them."""
    optimizers = checkpoint.agent["optimizers"].values()
    return [
        10.0 * state["exp_avg"]
        for optimizer in optimizers
        for state in optimizer["state"].values()
    ]


def test_two_processes_have_the_gradients_of_one(
    tmp_path: Path, preset_values: dict, make_store
) -> None:
    preset_values["agent"] |= {"clone_steps": 0, "n_batch_actions": 2, "n_next_actions": 1}
    preset_values["augment"]["jitter"] = True
    preset_values["pretrain"] = {"steps": 4, "checkpoint_every": 1, "keep": 0}
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump(preset_values))
    arguments = [
        "pretrain",
        "--config",
        str(preset),
        "--data",
        str(make_store("prior")),
        "--out",
    ]
    assert main([*arguments, str(tmp_path / "one")]) == 0
    done = torchrun(2, *arguments, str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    one, two = (
        [
            load_checkpoint(tmp_path / run / "checkpoints" / f"step_{step}.pt")
            for step in (1, 4)
        ]
        for run in ("one", "two")
    )
    for mine, theirs in zip(gradients(one[0]), gradients(two[0]), strict=True):
        scale = float(theirs.abs().max())
        assert float((mine - theirs).abs().max()) <= 1e-5 * max(scale, 1.0)
    for name, mine in one[1].agent["weights"].items():
        torch.testing.assert_close(
            two[1].agent["weights"][name], mine, atol=2e-4, rtol=1e-3
        )
    rows = [
        (tmp_path / run / "metrics.csv").read_text().splitlines() for run in ("one", "two")
    ]
    assert len(rows[0]) == len(rows[1])


def test_two_processes_watch_themselves_and_end_together(
    tmp_path: Path, preset_values: dict, make_store
) -> None:
    preset_values["agent"] |= {"clone_steps": 100, "clone_lr": 1e-30}  # nothing gets better
    preset_values["pretrain"] = {
        "steps": 20,
        "holdout": 1,
        "evaluate_every": 2,
        "early_stop": {"metric": "error", "patience": 2},
    }
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump(preset_values))
    where = ["--data", str(make_store("prior")), "--out", str(tmp_path / "run")]
    done = torchrun(2, "pretrain", "--config", str(preset), *where)
    assert done.returncode == 0, done.stderr
    assert "ended early at step 6 of 20" in done.stdout
    assert list(list_checkpoints(tmp_path / "run")) == [2, 6]


def test_batch_norm_is_refused_where_processes_share_a_batch(
    tmp_path: Path, preset: str, make_store
) -> None:
    where = [
        "--data",
        str(make_store("prior")),
        "--out",
        str(tmp_path / "run"),
        "--set",
        "network.norm=batch",
    ]
    done = torchrun(2, "pretrain", "--config", preset, *where)
    assert done.returncode != 0
    assert (
        "network.norm is batch, which couples a batch that 2 processes share; use group"
        in done.stderr
    )


def test_every_process_draws_its_rows_of_the_same_numbers() -> None:
    def draw(group: DistributedContext) -> torch.Tensor:
        return BatchRng(torch.Generator().manual_seed(3), group).normal(
            (4 // group.size, 2)
        )

    halves = [draw(DistributedContext(rank, 2)) for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), draw(DistributedContext()))


def test_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(
        TrainingError, match="batch_size is 7; it must be a multiple of the 2 processes"
    ):
        DistributedContext(0, 2).slice(7)


def test_state_of_another_kind_of_generator_begins_numbers_of_its_own() -> None:
    """A GPU's generator has a state of 16 bytes, a CPU's one of 5056."""
    of_gpu = [torch.arange(16, dtype=torch.uint8), torch.arange(16, dtype=torch.uint8) + 1]
    drawn = []
    for state in (of_gpu, of_gpu, [tensor + 1 for tensor in of_gpu]):
        rng = BatchRng()
        rng.set_state(state)
        drawn.append(rng.normal([8]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_states_pass_between_cpu_and_gpu_both_ways() -> None:
    on_gpu = BatchRng(torch.Generator("cuda").manual_seed(1))
    on_gpu.set_state(BatchRng().state())
    again = BatchRng(torch.Generator("cuda").manual_seed(2))
    again.set_state(on_gpu.state())
    assert torch.equal(again.normal([8]), on_gpu.normal([8]))
    BatchRng().set_state(on_gpu.state())
