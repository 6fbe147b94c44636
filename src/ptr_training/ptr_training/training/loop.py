"""The training loop: from a checkpoint and a replay to a run folder.

It shows its progress, logs the metrics, saves checkpoints, and stops cleanly on a signal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import torch
from tqdm import tqdm

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
from .config import Config
from .device import set_up
from .divergence import DivergenceGuard
from .held_out import HeldOutEpisode, Watch
from .loggers import import_wandb
from .memory import explained_memory
from .metrics_log import MetricsLog
from .run_folder import check_same, describe_run
from .stage_config import FinetuneConfig, StageConfig

_RESIDENT_SHARE = 0.6  # of the free GPU memory that frames may take


def run(
    start: Checkpoint,
    replay: Replay,
    stage: StageConfig,
    out: Path,
    held_out: Sequence[HeldOutEpisode] = (),
    *,
    resume: bool,
) -> None:
    """Train from `start` until `stage.steps`, or continue from the newest checkpoint in `out`.

    Args:
        start: A checkpoint of step 0.
        replay: The training data.
        stage: How many steps, and what to keep and to evaluate.
        out: The run folder.
        held_out: Episodes to evaluate the agent on, where the stage asks for it.
        resume: Whether to continue a run that is there.

    Raises:
        TrainingError: If `out` holds a run and `resume` is false, or a run of other data or
            configuration.
        KeyboardInterrupt: After SIGINT or SIGTERM, once a checkpoint is saved.
    """
    device = set_up(start.config)
    if start.config.wandb != "disabled":
        import_wandb(start.config.wandb)  # before anything is written
    with joined_group(device) as context:
        start, is_new = _resumed(start, out, resume)
        context.wait()  # no process has written until here
        with explained_memory(start, replay, device):
            _train(start, replay, stage, out, held_out, device, context, is_new=is_new)


def _train(
    start: Checkpoint,
    replay: Replay,
    stage: StageConfig,
    out: Path,
    held_out: Sequence[HeldOutEpisode],
    device: torch.device,
    context: DistributedContext,
    *,
    is_new: bool,
) -> None:
    """Train from `start` on; a new run saves its first checkpoint before."""
    agent = _make_agent(start, stage, device, context)
    replay.generator.set_state(start.sampler)
    _place_frames(replay, agent, start.config, device, context)
    current = _Run(start, stage, out, agent, context, held_out)
    if context.leads:
        describe_run(start, out)
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
    check_same(saved, start)
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
        held_out: Episodes to evaluate the agent on.
    """

    def __init__(
        self,
        start: Checkpoint,
        stage: StageConfig,
        out: Path,
        agent: Agent,
        context: DistributedContext,
        held_out: Sequence[HeldOutEpisode],
    ) -> None:
        self.start = start
        self.stage = stage
        self.out = out
        self.agent = agent
        self.context = context
        self.held_out = held_out
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
            MetricsLog(self.out if leads else None, first, self.start.config) as log,
            StepProgress(self.out.name, total, "step", done=first, shown=leads) as progress,
        ):
            watch = Watch(self.start, self.stage, self.held_out, log)
            device = self.agent.active.device
            step, ended = first, self.context.any(watch.has_ended, device)
            steps = range(first + 1, first + 1 if ended else total + 1)
            for step, (batch, sampler) in zip(steps, batches, strict=False):
                log.add(update(batch))
                progress.advance()
                values = self._evaluate(step, watch)
                ended = values is not None and self.context.any(watch.has_ended, device)
                stopped = self.context.any(bool(signals), device)
                self._log_and_save(
                    step, sampler, watch, progress, values, is_last=stopped or ended
                )
                if stopped:
                    self._print(
                        f"stopped after step {step} of {total}, saved as a checkpoint"
                    )
                    raise KeyboardInterrupt
                if ended:
                    break
            if ended:
                if leads:  # the others do not know the values
                    self._print(f"ended early at step {step} of {total}: {watch.reason}")
                return
        self._print_summary(log)

    def _evaluate(self, step: int, watch: Watch) -> dict[str, float] | None:
        """Return the values on held-out episodes; None where they are not due.

        Only the first process computes them; those of the others are empty.
        """
        if not watch.is_due(step):
            return None
        if not self.context.leads:
            return {}
        return watch.evaluate(self.agent, step)

    def _log_and_save(
        self,
        step: int,
        sampler: torch.Tensor,
        watch: Watch,
        progress: StepProgress,
        values: dict[str, float] | None,
        *,
        is_last: bool,
    ) -> None:
        """Write the metrics and a checkpoint of a step where they are due.

        Args:
            step: The step.
            sampler: State of the replay's generator after it.
            watch: Of the run, with its log.
            progress: Of the run.
            values: On held-out episodes, see `_evaluate`.
            is_last: Whether the stage ends here, though it has steps left.
        """
        is_last = is_last or step == self.stage.steps
        logs = is_last or step % self.start.config.log_every == 0
        saves = is_last or self.stage.saves_after(step)
        if not (logs or saves or values is not None):
            return
        means = watch.log.means(self.context)
        self.check(step, means)
        detail = f"loss {means['loss']:.4g}"
        if values:
            shown = [f"{name} {value:.3g}" for name, value in values.items()]
            detail += f", held out: {' '.join(shown)}"
        progress.show(detail)
        if logs:
            watch.log.write(step, means)
        if logs or values:
            progress.report(step, detail)
        guard = DivergenceGuard(self.agent.config, watch.log)
        if logs:
            self._stop_if_diverged(guard)
        if not self.context.leads:
            return
        best = watch.best
        is_best = best is not None and best[0] == step
        if saves or is_best:
            self.save(step, sampler, self._worth_keeping(watch, guard))
        if is_best:
            watch.record_best(self.out)

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

    def _stop_if_diverged(self, guard: DivergenceGuard) -> None:
        """Stop a run whose Q has left the returns that can occur far and for long.

        Raises:
            TrainingError: If the configuration asks for it; it names what to change.
        """
        if self.start.config.on_divergence != "stop":
            return
        if self.context.any(guard.has_diverged, self.agent.active.device):
            if not self.context.leads:
                raise TrainingError("training has diverged; the first process says how")
            raise TrainingError(guard.describe(self.out))

    def _worth_keeping(self, watch: Watch, guard: DivergenceGuard) -> set[int]:
        """Return the steps whose checkpoints are not removed.

        They are the best one, and, while Q is far outside of the returns that can occur, the
        newest one from before.
        """
        kept = set() if watch.best is None else {watch.best[0]}
        if self.start.config.on_divergence == "stop" and guard.is_far_outside:
            good = guard.newest_good(list_checkpoints(self.out))
            kept |= set() if good is None else {good}
        return kept

    def save(
        self, step: int, sampler: torch.Tensor, kept: Collection[int] = frozenset()
    ) -> None:
        """Save a checkpoint, and remove old ones where the stage keeps only a few.

        Args:
            step: Of the checkpoint.
            sampler: State of the replay's generator.
            kept: Steps whose checkpoints are not removed.
        """
        checkpoint = dataclasses.replace(
            self.start, step=step, agent=self.agent.state(), sampler=sampler
        )
        checkpoint.save(self.out / "checkpoints" / f"step_{step}.pt")
        if self.stage.keep:
            paths = list_checkpoints(self.out)
            for old in list(paths)[: -self.stage.keep]:
                if old not in kept:
                    paths[old].unlink()

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
