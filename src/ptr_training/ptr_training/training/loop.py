"""The training loop: from a checkpoint and a replay to a run folder.

It shows its progress, logs the metrics, saves checkpoints, and stops cleanly on a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from ptr_common.files import atomic_file
from ptr_common.progress import StepProgress, format_duration
from ptr_training.agents import Agent
from ptr_training.data.batch import Batch
from ptr_training.data.distributed import DistributedContext, joined_group
from ptr_training.data.replay import Replay
from ptr_training.errors import TrainingError
from ptr_training.models.config import FROZEN
from ptr_training.models.frozen import encode_frames

from .accelerate import make_update
from .build import restore_agent
from .checkpoint import Checkpoint, find_checkpoint, list_checkpoints, load_checkpoint
from .config import Config, FinetuneConfig, StageConfig
from .memory import explained_memory
from .metrics_log import MetricsLog

FREE_TO_CHANGE = frozenset(
    {
        "steps",
        "keep",
        "checkpoint_every",
        "log_every",
        "device",
        "threads",
        "replay",
        "accelerate",
        "path",
        "from",
    }
)
"""Last names of the configuration and data keys that may differ when a run is resumed."""

_RESIDENT_SHARE = 0.6  # of the free GPU memory that frames may take


def run(
    start: Checkpoint, replay: Replay, stage: StageConfig, out: Path, *, resume: bool
) -> None:
    """Train from `start` until `stage.steps`, or continue from the newest checkpoint in `out`.

    Raises:
        TrainingError: If `out` holds a run and `resume` is false, or a run of other data or
            configuration.
        KeyboardInterrupt: After SIGINT or SIGTERM, once a checkpoint is saved.
    """
    device = _set_up(start.config)
    with joined_group(device) as context:
        start, is_new = _resumed(start, out, resume)
        context.wait()  # no process has written until here
        with explained_memory(start, replay, device):
            _train(start, replay, stage, out, device, context, is_new=is_new)


def _train(
    start: Checkpoint,
    replay: Replay,
    stage: StageConfig,
    out: Path,
    device: torch.device,
    context: DistributedContext,
    *,
    is_new: bool,
) -> None:
    """Train from `start` on; a new run saves its first checkpoint before."""
    agent = _make_agent(start, stage, device, context)
    replay.generator.set_state(start.sampler)
    _place_frames(replay, agent, start.config, device, context)
    current = _Run(start, stage, out, agent, context)
    if context.leads:
        _describe_run(start, out)
        if is_new:  # the first checkpoint also shows whether the folder can be written
            current.save(0, start.sampler)
    ahead = 2 if device.type == "cuda" and not replay.resident else 0
    with contextlib.closing(replay.batches(device, context, ahead)) as batches:
        current.train(batches)


def _resumed(start: Checkpoint, out: Path, resume: bool) -> tuple[Checkpoint, bool]:
    """Return where training begins, and whether the run is a new one.

    It begins at the newest checkpoint in `out` if there is one, else at `start`.
    """
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
    start: Checkpoint, stage: StageConfig, device: torch.device, context: DistributedContext
) -> Agent:
    """Return the agent of a checkpoint, ready for a stage."""
    if context.size > 1 and start.config.network.norm == "batch":
        raise TrainingError(
            f"network.norm is batch, which couples a batch that {context.size} processes share; "
            "use group"
        )
    agent = restore_agent(start, device, context)
    agent.finetuning = isinstance(stage, FinetuneConfig)
    return agent


class _Run:
    """A stage in progress: its steps, and what it saves, logs and prints.

    Args:
        start: The checkpoint that the steps continue from.
        stage: How many steps, and which checkpoints to keep.
        out: The run folder.
        agent: What learns.
        context: The processes that share each batch; only the first one writes and prints.
    """

    def __init__(
        self,
        start: Checkpoint,
        stage: StageConfig,
        out: Path,
        agent: Agent,
        context: DistributedContext,
    ) -> None:
        self.start = start
        self.stage = stage
        self.out = out
        self.agent = agent
        self.context = context
        self.has_warned = False
        self.began = time.monotonic()

    def train(self, batches: Iterable[tuple[Batch, torch.Tensor]]) -> None:
        """Take a gradient step for each batch, until the stage ends or a signal stops it.

        Args:
            batches: Batches, each with the state of the replay's generator after its draw.
        """
        first, total = self.start.step, self.stage.steps
        leads = self.context.leads
        update = make_update(self.agent, self.start.config.accelerate)
        with (
            _stop_signals() as signals,
            MetricsLog(self.out if leads else None, first) as log,
            StepProgress(self.out.name, total, "step", done=first, shown=leads) as progress,
        ):
            steps = range(first + 1, total + 1)
            for step, (batch, sampler) in zip(steps, batches, strict=False):
                log.add(update(batch))
                progress.advance()
                stopped = self.context.any(bool(signals), batch.actions.device)
                self._log_and_save(step, sampler, log, progress, stopped=stopped)
                if stopped:
                    self._print(
                        f"stopped after step {step} of {total}, saved as a checkpoint"
                    )
                    raise KeyboardInterrupt
        self._print_summary(log)

    def _log_and_save(
        self,
        step: int,
        sampler: torch.Tensor,
        log: MetricsLog,
        progress: StepProgress,
        *,
        stopped: bool,
    ) -> None:
        """Write the metrics and a checkpoint of a step where they are due."""
        is_last = step == self.stage.steps or stopped
        logs = is_last or step % self.start.config.log_every == 0
        saves = is_last or step % self.stage.checkpoint_every == 0
        if not (logs or saves):
            return
        means = log.means(self.context)
        self.check(step, means)
        loss = f"loss {means['loss']:.4g}"
        progress.show(loss)
        if logs:
            log.write(step, means)
            progress.report(step, loss)
        if saves and self.context.leads:
            self.save(step, sampler)

    def check(self, step: int, means: dict[str, float]) -> None:
        """Stop a run that has become useless, and warn once of one that is about to.

        Raises:
            TrainingError: If a metric is not finite.
        """
        not_finite = []
        for name, value in means.items():
            if not math.isfinite(value):
                not_finite.append(f"{name} {value}")
        if not_finite:
            raise TrainingError(
                f"training has diverged at step {step}: {', '.join(not_finite)}. "
                f"The newest checkpoint in {self.out} is from before; "
                "lower the learning rates, or set agent.clamp_target=true"
            )
        warning = self.agent.warning(means)
        if warning and not self.has_warned and self.context.leads:
            tqdm.write(f"step {step}: {warning}", file=sys.stderr)
            self.has_warned = True

    def save(self, step: int, sampler: torch.Tensor) -> None:
        """Save a checkpoint, and remove old ones where the stage keeps only a few."""
        checkpoint = dataclasses.replace(
            self.start, step=step, agent=self.agent.state(), sampler=sampler
        )
        checkpoint.save(self.out / "checkpoints" / f"step_{step}.pt")
        if self.stage.keep:
            paths = list(list_checkpoints(self.out).values())
            for old in paths[: -self.stage.keep]:
                old.unlink()

    def _print_summary(self, log: MetricsLog) -> None:
        """Print what the stage has done and written, and which checkpoint early stopping takes."""
        first, total = self.start.step, self.stage.steps
        if first >= total:
            self._print(f"step {first} of {total} was reached before; nothing to do")
            return
        duration = format_duration(time.monotonic() - self.began)
        checkpoints = list_checkpoints(self.out)
        names = ", ".join(map(str, checkpoints))
        self._print(
            f"step {total} of {total} reached in {duration}; wrote config.yaml, tasks.yaml, "
            f"data.json, metrics.csv, TensorBoard events and checkpoints/step_N.pt of N = {names}"
        )
        metric = self.agent.early_stopping
        best = log.lowest(metric, checkpoints) if metric else None
        if best:
            self._print(
                f"{metric} was smallest, {best[1]:.4g}, up to step {best[0]}; to go on from there: "
                f"--from {self.out}/checkpoints/step_{best[0]}.pt"
            )

    def _print(self, text: str) -> None:
        if self.context.leads:
            print(f"{self.out}: {text}", flush=True)


def _place_frames(
    replay: Replay,
    agent: Agent,
    config: Config,
    device: torch.device,
    context: DistributedContext,
) -> None:
    """Put the frames where batches are gathered from: mapped files, or the device's memory."""
    if config.network.encoder in FROZEN:
        if context.leads and not sys.stderr.isatty():
            print(f"encoding every frame by {config.network.encoder}", file=sys.stderr)
        encode_frames(agent.encoder, replay.parts, device)
    resident = config.replay == "device"
    if config.replay == "auto" and device.type == "cuda":
        free_bytes = torch.cuda.mem_get_info(device)[0]
        resident = replay.bytes < _RESIDENT_SHARE * free_bytes
    if resident:
        replay.to_device(device)


def _set_up(config: Config) -> torch.device:
    """Choose the device and the number of threads.

    Raises:
        TrainingError: If PyTorch does not find the device.
    """
    set_up_cpu(config)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise TrainingError(
            f"device is {name}, but PyTorch finds no GPU; "
            "use --set device=cpu or install its CUDA build"
        )
    if device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    count = torch.cuda.device_count()
    if device.index >= count:
        raise TrainingError(
            f"device is {device}, but PyTorch finds {count} GPUs, cuda:0 to cuda:{count - 1}; "
            "change device, or start fewer processes"
        )
    return device


def set_up_cpu(config: Config) -> None:
    """Use as many threads as the configuration names: those of two processes hinder each other."""
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory: page faults took an eighth of a small CPU step."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, the largest that glibc takes


def _describe_run(start: Checkpoint, out: Path) -> None:
    """Write the configuration, the task ids and the sources of the data into a run folder."""
    with atomic_file(out / "config.yaml") as path:
        path.write_text(start.config.to_yaml())
    with atomic_file(out / "tasks.yaml") as path:
        start.task_ids.save(path)
    with atomic_file(out / "data.json") as path:
        path.write_text(json.dumps(start.data, indent=1) + "\n")


def _check_same(saved: Checkpoint, wanted: Checkpoint) -> None:
    """Refuse to resume with other data or another configuration, naming the first difference."""
    # the section `data` of the configuration has other keys than the record of the stores
    before = _flat(saved.data, "data.") | _flat(saved.config.to_dict())
    now = _flat(wanted.data, "data.") | _flat(wanted.config.to_dict())
    for key in sorted(before.keys() | now.keys()):
        if key.rsplit(".", 1)[-1] in FREE_TO_CHANGE:
            continue
        if before.get(key) != now.get(key):
            raise TrainingError(
                f"cannot resume: {key} was {before.get(key)!r} in the run and is "
                f"{now.get(key)!r} now; use the same command, or another --out"
            )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted keys; the sections of a list have its indices as names."""
    if isinstance(values, list) and values and isinstance(values[0], dict):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return {prefix[:-1]: values}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.")
    return flat


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that a step is never cut in two.

    A second signal acts at once.
    """
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        """Note a signal; the next one of its kind raises KeyboardInterrupt."""
        received.append(number)
        signal.signal(number, signal.default_int_handler)
        print("\nstopping after this step; a checkpoint will be saved", file=sys.stderr)

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, on_signal)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
