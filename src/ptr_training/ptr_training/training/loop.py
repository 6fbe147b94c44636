"""The training loop: from a checkpoint and a replay to a run folder, with progress, logs and a clean stop."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import dataclasses
import json
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from ptr_common.files import atomic_file
from ptr_training.agents import Agent, Metrics
from ptr_training.data.distributed import DistributedContext, joined_group
from ptr_training.data.replay import Batch, Replay
from ptr_training.errors import TrainingError
from ptr_training.models.config import FROZEN
from ptr_training.models.frozen import encode_frames

from .checkpoint import Checkpoint, find_checkpoint, list_checkpoints, load_checkpoint
from .config import Config, FinetuneConfig, StageConfig


def run(
    start: Checkpoint, replay: Replay, stage: StageConfig, out: Path, *, resume: bool
) -> None:
    """Train from `start` until `stage.steps`, or go on from the newest checkpoint in `out`.

    Raises:
        TrainingError: If `out` holds a run and `resume` is false, or a run of other data or
            configuration.
        KeyboardInterrupt: After SIGINT or SIGTERM, once a checkpoint is saved.
    """
    device = _set_up(start.config)
    with joined_group(device) as group:
        start, fresh = _resumed(start, out, resume)
        group.wait()  # until here nobody has written
        config = start.config
        agent = _make_agent(start, stage, device, group)
        replay.generator.set_state(start.sampler)
        _place_frames(replay, agent, config, device)
        under_way = _Run(start, stage, out, agent, group)
        if group.leads:
            _describe_run(start, out)
            if fresh:
                under_way.save(
                    0, start.sampler
                )  # also shows at once whether the folder can be written
        ahead = 2 if device.type == "cuda" and not replay.resident else 0
        with contextlib.closing(replay.batches(device, group, ahead)) as batches:
            under_way.train(batches)


def _resumed(start: Checkpoint, out: Path, resume: bool) -> tuple[Checkpoint, bool]:
    """Return the newest checkpoint in `out` if there is one, else `start`, and whether the run is a new one."""
    if not list_checkpoints(out):
        return start, True
    if not resume:
        raise TrainingError(
            f"{out} holds a run already; add --resume to go on with it, or choose another --out"
        )
    saved = load_checkpoint(find_checkpoint(out))
    _check_same(saved, start)
    return dataclasses.replace(saved, config=start.config), False


def _make_agent(
    start: Checkpoint, stage: StageConfig, device: torch.device, group: DistributedContext
) -> Agent:
    if group.size > 1 and start.config.network.norm == "batch":
        raise TrainingError(
            f"network.norm is batch, which couples a batch that {group.size} processes share; use group"
        )
    agent = start.build_agent(device, group)
    agent.finetuning = isinstance(stage, FinetuneConfig)
    if start.config.compile:
        agent.compile_encoders()
    return agent


class _Run:
    """A stage under way: what it saves, logs and watches."""

    def __init__(
        self,
        start: Checkpoint,
        stage: StageConfig,
        out: Path,
        agent: Agent,
        group: DistributedContext,
    ) -> None:
        self.start, self.stage, self.out, self.agent, self.group = (
            start,
            stage,
            out,
            agent,
            group,
        )
        self.warned = ""

    def train(self, batches: Iterable[tuple[Batch, torch.Tensor]]) -> None:
        config, stage, first = self.start.config, self.stage, self.start.step
        hidden = None if self.group.leads else True
        with (
            _stop_signals() as stop,
            Log(self.out if self.group.leads else None, first) as log,
        ):
            steps = range(first + 1, stage.steps + 1)
            bar = tqdm(
                steps,
                desc=self.out.name,
                initial=first,
                total=stage.steps,
                unit="step",
                disable=hidden,
            )
            for step, (batch, sampler) in zip(bar, batches, strict=False):
                log.add(self.agent.update(batch))
                stopped = self.group.any(bool(stop), batch.actions.device)
                last = step == stage.steps or stopped
                logs, saves = (
                    last or step % every == 0
                    for every in (config.log_every, stage.checkpoint_every)
                )
                if logs or saves:
                    means = log.means(self.group)
                    self.watch(step, means)
                    bar.set_postfix(loss=f"{means['loss']:.4g}")
                    if logs:
                        log.write(step, means)
                if saves and self.group.leads:
                    self.save(step, sampler)
                if stopped:
                    raise KeyboardInterrupt

    def watch(self, step: int, means: dict[str, float]) -> None:
        """Stop a run that has become useless, and say once when one is about to.

        Raises:
            TrainingError: If the loss is not finite.
        """
        if not all(map(math.isfinite, means.values())):
            bad = ", ".join(
                f"{name} {value}"
                for name, value in means.items()
                if not math.isfinite(value)
            )
            raise TrainingError(
                f"training has diverged at step {step}: {bad}. The newest checkpoint in {self.out} is from before; "
                "lower the learning rates, or set agent.clamp_target=true"
            )
        warning = self.agent.warning(means)
        if warning and not self.warned and self.group.leads:
            tqdm.write(f"step {step}: {warning}", file=sys.stderr)
        self.warned = warning

    def save(self, step: int, sampler: torch.Tensor) -> None:
        now = dataclasses.replace(
            self.start, step=step, agent=self.agent.state(), sampler=sampler
        )
        now.save(self.out / "checkpoints" / f"step_{step}.pt")
        if self.stage.keep:
            for old in list(list_checkpoints(self.out).values())[: -self.stage.keep]:
                old.unlink()


def _place_frames(
    replay: Replay, agent: Agent, config: Config, device: torch.device
) -> None:
    """Put the frames where batches are gathered from: mapped files, or the device's memory."""
    if config.network.encoder in FROZEN:
        encode_frames(agent.encoder, replay.parts, device)
    fits = device.type == "cuda" and replay.bytes < 0.6 * torch.cuda.mem_get_info(device)[0]
    if config.replay == "device" or (config.replay == "auto" and fits):
        replay.reside(device)


def _set_up(config: Config) -> torch.device:
    """Choose the device and the number of threads."""
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
    wanted = config.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "device is cuda, but PyTorch finds no GPU; use --set device=cpu or install its CUDA build"
        )
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if wanted == "cuda"
        else torch.device(wanted)
    )


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of giving it back: page faults took an eighth of a small CPU step."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD; glibc takes no more


def _describe_run(start: Checkpoint, out: Path) -> None:
    with atomic_file(out / "config.yaml") as path:
        path.write_text(start.config.to_yaml())
    with atomic_file(out / "tasks.yaml") as path:
        start.tasks.save(path)
    with atomic_file(out / "data.json") as path:
        path.write_text(json.dumps(start.data, indent=1) + "\n")


def _check_same(saved: Checkpoint, wanted: Checkpoint) -> None:
    """Refuse to resume with other data or another configuration, naming the first difference."""
    found, asked = (
        _flat({"data": each.data, **each.config.to_dict()}) for each in (saved, wanted)
    )
    free = (
        "steps",
        "keep",
        "checkpoint_every",
        "log_every",
        "device",
        "threads",
        "replay",
        "path",
        "from",
    )
    for key in sorted(found.keys() | asked.keys()):
        if key.rsplit(".", 1)[-1] not in free and found.get(key) != asked.get(key):
            raise TrainingError(
                f"cannot resume: {key} was {found.get(key)!r} in the run and is {asked.get(key)!r} now; "
                "use the same command, or another --out"
            )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, dict):
        return {
            key: each
            for name, value in values.items()
            for key, each in _flat(value, f"{prefix}{name}.").items()
        }
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return _flat(dict(enumerate(values)), prefix)
    return {prefix[:-1]: values}


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that a step is never cut in two; a second one acts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.default_int_handler)
        print("\nstopping after this step; a checkpoint will be saved", file=sys.stderr)

    previous = {
        number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Log:
    """Means of the metrics since the last line, into `metrics.csv` and TensorBoard; lines after `step` are dropped.

    Without a folder nothing is written.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "metrics.csv"
        if self._path.is_file():
            with self._path.open(newline="") as file:
                self._rows = [
                    row for row in csv.DictReader(file) if int(row["step"]) <= step
                ]
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()

    def add(self, metrics: Metrics) -> None:
        """Take the metrics of one step; those of another phase of the agent start a new mean."""
        if metrics.keys() != self._sums.keys():
            self._sums, self._count = {}, 0
        self._sums = {
            name: value + self._sums.get(name, 0.0) for name, value in metrics.items()
        }
        self._count += 1

    def means(self, group: DistributedContext) -> dict[str, float]:
        """Return the means over the steps since the last line and over all processes."""
        return {
            name: float(value) / self._count
            for name, value in group.average(self._sums).items()
        }

    def write(self, step: int, means: dict[str, float]) -> None:
        """Write one line and begin the next."""
        self._sums, self._count = {}, 0
        if self._writer is None:
            return
        for name, value in means.items():
            self._writer.add_scalar(name, value, step)
        self._rows.append(
            {"step": step, **{name: f"{value:.6g}" for name, value in means.items()}}
        )
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with atomic_file(self._path) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self._rows)
