"""How a run watches itself: its agent's values on episodes that it does not train on.

The agent draws, learns and is saved as if nobody had looked.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ptr_common.files import atomic_file
from ptr_training.agents import Agent
from ptr_training.data.distributed import BatchRng
from ptr_training.data.episode import DatasetInfo, Episode
from ptr_training.data.store import EpisodeStore

from .checkpoint import BEST, Checkpoint
from .metrics_log import HELD_OUT, MetricsLog
from .stage_config import HIGHER_IS_BETTER, StageConfig
from .trends import evaluate, summarise

WITHOUT_CRITIC = ("error",)
"""Values that say something before the critic's first update."""


@dataclass(frozen=True)
class HeldOutEpisode:
    """An episode that a stage does not train on."""

    episode: Episode
    info: DatasetInfo  # of its store


def held_out_episodes(
    sources: Sequence[Mapping[str, Any]], stores: Sequence[EpisodeStore]
) -> list[HeldOutEpisode]:
    """Return the episodes that a run holds out.

    Args:
        sources: What the run records of each store, see `stages`.
        stores: The stores, in the same order.
    """
    episodes = []
    for source, store in zip(sources, stores, strict=True):
        ids = set(source.get("holdout", ()))
        for index, entry in enumerate(store.entries):
            if entry.id in ids:
                episodes.append(HeldOutEpisode(store.episode(index), store.info))
    return episodes


class Watch:
    """Evaluates an agent on held-out episodes while it learns, and says when to end.

    What was found before is read from the log, so that a resumed run ends where an
    uninterrupted one does.

    Args:
        start: The checkpoint that the stage continues from.
        stage: How often to evaluate, and by what to end.
        episodes: The held-out episodes.
        log: Of the run.
    """

    def __init__(
        self,
        start: Checkpoint,
        stage: StageConfig,
        episodes: Sequence[HeldOutEpisode],
        log: MetricsLog,
    ) -> None:
        self.start = start
        self.stage = stage
        self.episodes = episodes
        self.log = log

    def is_due(self, step: int) -> bool:
        """Return whether to evaluate after a step."""
        every = self.stage.evaluate_every
        return bool(every and self.episodes) and step % every == 0

    def evaluate(self, agent: Agent, step: int) -> dict[str, float]:
        """Return the values of an agent by name, and write them into the log."""
        trends = []
        with undisturbed(agent):
            for held_out in self.episodes:
                known = replace(self.start, info=held_out.info)
                trend = evaluate(agent, known, held_out.episode, agent.active.device)
                trends.append(trend)
        values = summarise(trends)
        if not agent.critic_steps:
            values = {name: values[name] for name in WITHOUT_CRITIC}
        self.log.write_held_out(step, values)
        return values

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the best evaluation so far; None where nothing decides."""
        history = self._history()
        if not history:
            return None
        sign = 1.0 if HIGHER_IS_BETTER[self.stage.early_stop.metric] else -1.0
        return max(history, key=lambda entry: sign * entry[1])  # the first of equal ones

    @property
    def has_ended(self) -> bool:
        """Whether as many evaluations as the patience allows have brought nothing better."""
        best = self.best
        if best is None:
            return False
        later = [step for step, _ in self._history() if step > best[0]]
        return len(later) >= self.stage.early_stop.patience

    @property
    def reason(self) -> str:
        """Why the stage ends early, as a sentence."""
        assert self.best is not None
        step, value = self.best
        stop = self.stage.early_stop
        worse = "above" if HIGHER_IS_BETTER[stop.metric] else "below"
        return (
            f"{HELD_OUT}{stop.metric} did not get {worse} the {value:.4g} of step {step} in "
            f"{stop.patience} evaluations (early_stop.patience); "
            f"checkpoints/step_{step}.pt is the best, and taken by `ptr finetune --from` "
            "and `ptr bundle`"
        )

    def record_best(self, out: Path) -> None:
        """Write which checkpoint of a run folder is the best."""
        assert self.best is not None
        step, value = self.best
        content = {"step": step, "metric": self.stage.early_stop.metric, "value": value}
        with atomic_file(out / BEST) as path:
            path.write_text(json.dumps(content) + "\n")

    def _history(self) -> list[tuple[int, float]]:
        metric = self.stage.early_stop.metric
        return self.log.history(HELD_OUT + metric) if metric else []


@contextlib.contextmanager
def undisturbed(agent: Agent) -> Iterator[None]:
    """Leave an agent's random numbers and modes after the block as they were before.

    Inside it draws the same numbers every time, by itself. Compiled encoders run uncompiled:
    batches have another size.
    """
    rng, device = agent.rng, agent.active.device
    modes = [(module, module.training) for module in agent.modules()]
    agent.rng = BatchRng(torch.Generator(device).manual_seed(0))
    gpus = [device] if device.type == "cuda" else []
    eager: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if any(module._compiled_call_impl is not None for module in agent.modules()):
        eager = torch.compiler.set_stance("force_eager")
    try:
        with torch.random.fork_rng(gpus), eager:
            yield
    finally:
        agent.rng = rng
        for module, mode in modes:
            module.training = mode
