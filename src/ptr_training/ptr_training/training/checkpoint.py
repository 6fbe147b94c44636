"""Checkpoints: everything needed to go on training bit for bit, in one file that is complete or absent."""

from __future__ import annotations

import io
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ptr_common.files import atomic_file
from ptr_training.agents import AGENTS, Agent
from ptr_training.data.augment import Augmentation
from ptr_training.data.distributed import DistributedContext
from ptr_training.data.episode import DatasetInfo
from ptr_training.data.normalization import DataSpec
from ptr_training.data.task_ids import TaskIds
from ptr_training.errors import TrainingError

from .config import Config, from_dict

FORMAT_VERSION = 2


class CheckpointError(TrainingError):
    """A checkpoint is missing, truncated, of another version or of another run."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training stage after `step` of its gradient steps."""

    step: int
    config: Config
    problem: DataSpec
    tasks: TaskIds
    card: DatasetInfo  # of the data learnt from: camera, action and image pipeline
    data: dict[str, Any]  # what the run learns from, with fingerprints; see train.py
    agent: dict[str, Any]  # Agent.state()
    sampler: torch.Tensor  # state of the replay's generator

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values |= {name: asdict(values[name]) for name in ("problem", "tasks", "card")}
        values |= {"config": self.config.to_dict(), "format_version": FORMAT_VERSION}
        buffer = (
            io.BytesIO()
        )  # torch.save itself may abort the process when the disk is full
        torch.save(values, buffer)
        with atomic_file(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def build_agent(
        self, device: torch.device, group: DistributedContext | None = None
    ) -> Agent:
        """Return the agent in the state that was saved.

        Raises:
            CheckpointError: If it is that of other networks than the configuration
            describes.
        """
        agent = build_agent(self.config, self.problem, device, group)
        try:
            agent.load_state(self.agent)
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit agent {self.config.agent_name} with {self.config.network}: "
                f"{_first_reason(error)}; keep the configuration it was trained with"
            ) from error
        return agent


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        CheckpointError: If it is missing, truncated, not a checkpoint or of another
        version.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes PyTorch raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is truncated or not a checkpoint ({reason}); use an earlier one"
        ) from error
    version = values.pop("format_version", None) if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {version!r}, this version reads {FORMAT_VERSION}"
        )
    values["config"] = from_dict(values["config"])
    values["problem"] = DataSpec(**values["problem"])
    values["tasks"] = TaskIds(**values["tasks"])
    values["card"] = DatasetInfo(**values["card"])
    return Checkpoint(**values)


def _first_reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__)[
        :300
    ]


def build_agent(
    config: Config,
    problem: DataSpec,
    device: torch.device,
    group: DistributedContext | None = None,
) -> Agent:
    """Return a new agent; its weights depend on `config.seed` alone."""
    torch.manual_seed(config.seed)
    augmentation = Augmentation(config.augment.shift, config.augment.jitter)
    agent = AGENTS[config.agent_name](config.agent, config.network, problem, augmentation)
    agent.start(device, config.seed, bf16=config.bf16, group=group)
    return agent


def list_checkpoints(run: Path) -> dict[int, Path]:
    """Return the checkpoints of a run folder by step, in order."""
    found = {}
    for path in (run / "checkpoints").glob("step_*.pt"):
        if match := re.fullmatch(r"step_(\d+)", path.stem):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def find_checkpoint(where: Path, step: int | None = None) -> Path:
    """Return a checkpoint file: `where` itself, or of a run folder that of `step` or the newest.

    Raises:
        CheckpointError: If there is none, naming the steps there are.
    """
    if where.is_file():
        return where
    found = list_checkpoints(where)
    if not found:
        raise CheckpointError(
            f"{where} is neither a checkpoint nor a run folder with checkpoints/step_N.pt"
        )
    if step is not None and step not in found:
        raise CheckpointError(
            f"{where} has no checkpoint of step {step}; there are: {', '.join(map(str, found))}"
        )
    return found[max(found) if step is None else step]
