"""What `ptr inspect` found out about a store, as the rows of its tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptr_training.data.marks import Mark, verdict_text
from ptr_training.data.store import EpisodeStore

from .episode_metrics import EpisodeMetrics
from .flags import FLAGS, Flag, details_of, flags_of
from .motion import LAGS, Dimension

ACTIONS_EXPLAINED = (
    "of ±1: std where the bounds are -1 and 1, which min_action_std is compared with; "
    "lag: correlation of the command with the motion so many steps later (gripper: with the "
    "opening); gain: achieved / commanded at the best lag"
)

NAMES_SHOWN = 3
"""Episodes that the table of flags names."""

Row = list[str]


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection."""

    store: EpisodeStore  # as written
    metrics: list[EpisodeMetrics]  # of each episode
    dimensions: list[Dimension]  # of the action
    intact: bool  # the pixels have the SHA-256 of the card
    marks: dict[str, Mark]  # of `ptr review`, by episode

    @property
    def steps(self) -> int:
        """The steps of all episodes."""
        return sum(metrics.steps for metrics in self.metrics)

    def flagged_with(self, flag: Flag) -> list[str]:
        """Return the ids of the episodes that have a flag."""
        return [metrics.id for metrics in self.metrics if flag.holds(metrics)]

    def ordered(self) -> list[int]:
        """Return the indices of the episodes, those with most flags first."""
        counts = [len(flags_of(metrics)) for metrics in self.metrics]
        return sorted(range(len(counts)), key=lambda index: -counts[index])


@dataclass(frozen=True)
class Table:
    """A header and rows of cells, with the side of each column: `l` or `r`."""

    header: Row
    rows: list[Row]
    align: str


def facts(inspection: Inspection) -> list[tuple[str, str]]:
    """Return name and value of what holds for the whole store."""
    store, info = inspection.store, inspection.store.info
    steps = inspection.steps
    minutes = steps / info.rate / 60
    pixels = "as card.yaml says"
    if not inspection.intact:
        pixels = "ALTERED: not those of card.yaml; copy them again"
    return [
        (
            "store",
            f"{store.path}: {info.name}, {len(store)} episodes of {len(store.tasks)} tasks",
        ),
        ("steps", f"{steps}, {minutes:.1f} min at {info.rate:g} Hz"),
        ("camera", f"{info.camera}, {info.camera_width}x{info.camera_height} pixels"),
        ("images", f"{info.image_width}x{info.image_height} pixels, by {info.resize}"),
        (
            "command",
            f"{info.command} is learnt from; "
            f"the last {info.last_n} steps of a success are rewarded",
        ),
        ("licence", info.licence),
        ("sources", str(len(info.sources))),
        ("pixels", pixels),
        ("marks", _marks_text(inspection)),
    ]


def _marks_text(inspection: Inspection) -> str:
    """Return how many episodes have each verdict."""
    verdicts: Counter[str] = Counter()
    for mark in inspection.marks.values():
        verdicts[mark.verdict] += 1
    counts = [f"{count} {verdict}" for verdict, count in sorted(verdicts.items())]
    return ", ".join(counts) or "none"


def task_table(inspection: Inspection) -> Table:
    """Return a row for each task, the tasks with most episodes first."""
    outcomes = sorted({metrics.outcome for metrics in inspection.metrics})
    by_task: dict[str, list[EpisodeMetrics]] = {}
    for metrics in inspection.metrics:
        by_task.setdefault(metrics.task, []).append(metrics)
    rows = []
    for task, members in sorted(by_task.items(), key=lambda item: -len(item[1])):
        rows.append([task, *_task_counts(members, outcomes)])
    header = ["task", "episodes", "steps", *outcomes, "flagged"]
    return Table(header, rows, "l" + "r" * (len(header) - 1))


def _task_counts(members: Sequence[EpisodeMetrics], outcomes: Sequence[str]) -> Row:
    """Return the number of episodes, of steps, of each outcome and of flagged episodes."""
    counts = dict.fromkeys(outcomes, 0)
    steps = flagged = 0
    for metrics in members:
        counts[metrics.outcome] += 1
        steps += metrics.steps
        flagged += bool(flags_of(metrics))
    return list(map(str, (len(members), steps, *counts.values(), flagged)))


def action_table(dimensions: Iterable[Dimension]) -> Table:
    """Return a row for each dimension of the action."""
    lags = [f"lag {lag}" for lag in range(LAGS)]
    ranges = ["min", "mean", "std", "max", "of ±1", "at bounds", "beyond"]
    rows = []
    for dimension in dimensions:
        row = [
            dimension.name,
            f"{dimension.minimum:.4f}",
            f"{dimension.mean:.4f}",
            f"{dimension.std:.4f}",
            f"{dimension.maximum:.4f}",
            f"{dimension.scaled_std:.3f}",
            f"{dimension.at_bounds:.1%}",
            f"{dimension.beyond:.1%}",
        ]
        row += map(_number_text, (*dimension.correlation, dimension.gain))
        rows.append(row)

    header = ["action", *ranges, *lags, "gain"]
    return Table(header, rows, "l" + "r" * (len(header) - 1))


def flag_table(inspection: Inspection) -> Table:
    """Return a row for each flag that an episode has."""
    rows = []
    for flag in FLAGS:
        names = inspection.flagged_with(flag)
        if names:
            shown = ", ".join(names[:NAMES_SHOWN])
            if len(names) > NAMES_SHOWN:
                shown += ", …"
            rows.append([flag.name, str(len(names)), flag.meaning, shown])
    return Table(["flag", "episodes", "what it means", "which"], rows, "lrll")


def flagged_table(inspection: Inspection) -> Table:
    """Return a row for each episode that has a flag, those with most flags first."""
    rows = []
    for index in inspection.ordered():
        metrics = inspection.metrics[index]
        if flags_of(metrics):
            verdict = verdict_text(inspection.marks.get(metrics.id))
            details = details_of(metrics)
            rows.append([metrics.id, metrics.task, str(metrics.steps), details, verdict])
    return Table(["episode", "task", "steps", "flags", "mark"], rows, "llrll")


def _number_text(value: float) -> str:
    """Return a number with two digits, a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.2f}"
