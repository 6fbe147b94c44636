"""How far recomputed actions are from the published ones: summaries, tables, files."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.action_space import ACTION_NAMES
from ptr_common.files import atomic_file
from ptr_common.text_table import cell, text_table

from .recompute import ReplayedStep


@dataclass(frozen=True)
class EpisodeComparison:
    """The replayed steps of one episode.

    Attributes:
        bag: Name of the bag.
        episode: Identifier of the episode.
        topic: Where the policy's states were recorded.
        steps: Every action of the policy.
    """

    bag: str
    episode: str
    topic: str
    steps: Sequence[ReplayedStep]

    @property
    def compared(self) -> int:
        """Number of actions that were reproduced."""
        return sum(not step.problem for step in self.steps)

    @property
    def action_differences(self) -> np.ndarray:
        """Largest difference of each dimension of the action, (7,); NaN without any."""
        return _worst([step.action_difference for step in self.steps])

    @property
    def q_difference(self) -> float:
        """Largest difference of a value; NaN where the bag has none."""
        return float(_worst([np.array([step.q_difference]) for step in self.steps])[0])

    @property
    def std_difference(self) -> float:
        """Largest difference of a standard deviation; NaN where the bag has none."""
        return float(_worst([np.array([step.std_difference]) for step in self.steps])[0])

    @property
    def largest(self) -> float:
        """Largest of all differences; NaN without any."""
        every = [*self.action_differences, self.q_difference, self.std_difference]
        return float(_worst([np.array([value]) for value in every])[0])

    @property
    def problems(self) -> Counter[str]:
        """Why steps could not be reproduced, and how many of each; stamps are left out."""
        found = (step.problem.partition(" (")[0] for step in self.steps if step.problem)
        return Counter(found)

    def to_json(self) -> dict[str, Any]:
        """Return the summary for a file; what does not exist is null."""
        differences = zip(ACTION_NAMES, self.action_differences, strict=True)
        return {
            "bag": self.bag,
            "episode": self.episode,
            "topic": self.topic,
            "steps": len(self.steps),
            "compared": self.compared,
            "not_reproduced": dict(self.problems),
            "inferred_arm_states": sum(step.inferred for step in self.steps),
            "steps_without_q": sum(step.q_missed for step in self.steps),
            "action_difference": {name: _number(value) for name, value in differences},
            "q_difference": _number(self.q_difference),
            "std_difference": _number(self.std_difference),
        }


def _worst(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return the largest value of each column that is not NaN; NaN where all are."""
    worst = np.fmax.reduce(rows)
    return np.asarray(worst, np.float64)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1e}" if value else "0"


def table(comparisons: Sequence[EpisodeComparison]) -> str:
    """Return a row for each episode: steps, and the largest differences."""
    rows = []
    for each in comparisons:
        worst = each.action_differences
        name = ACTION_NAMES[int(np.nanargmax(worst))] if np.fmax.reduce(worst) > 0 else "–"
        late = sum(step.q_missed for step in each.steps)
        rows.append(
            [
                *(each.episode, len(each.steps), each.compared),
                *(_shown(np.fmax.reduce(worst)), name),
                *(_shown(each.q_difference), _shown(each.std_difference), late),
            ]
        )
    header = ["episode", "steps", "reproduced", "action", "in", "Q", "std", "without Q"]
    return text_table(header, rows)


def dimensions(comparisons: Sequence[EpisodeComparison]) -> str:
    """Return the largest difference of each dimension over all episodes, in one line."""
    worst = _worst([each.action_differences for each in comparisons])
    shown = zip(ACTION_NAMES, worst, strict=True)
    return ", ".join(f"{name} {_shown(value)}" for name, value in shown)


def notes(comparisons: Sequence[EpisodeComparison]) -> list[str]:
    """Return a line for each reason why steps of an episode were not reproduced exactly."""
    lines = []
    for each in comparisons:
        for problem, count in each.problems.items():
            lines.append(f"{each.episode}: {count} steps not reproduced: {problem}")
        if inferred := sum(step.inferred for step in each.steps):
            lines.append(
                f"{each.episode}: {inferred} steps whose arm state the bag does not name; "
                "the latest one recorded before the image was taken"
            )
        unstated = sum(not step.recorded.stated for step in each.steps)
        if unstated:
            lines.append(f"{each.episode}: {unstated} commands without a policy state")
    return lines


def write(
    folder: Path, comparisons: Sequence[EpisodeComparison], about: dict[str, Any]
) -> None:
    """Write `replay.json`, the summaries, and `steps.csv`, every action.

    Args:
        folder: Receives both.
        comparisons: What was compared.
        about: Bundle, tolerance and versions.
    """
    summaries = [each.to_json() for each in comparisons]
    with atomic_file(folder / "replay.json") as temporary:
        text = json.dumps({**about, "episodes": summaries}, indent=1)
        temporary.write_text(text + "\n")
    with atomic_file(folder / "steps.csv") as temporary:
        _write_steps(temporary, comparisons)


def _write_steps(file: Path, comparisons: Sequence[EpisodeComparison]) -> None:
    header = ["bag", "episode", "stamp_ns", "image_ns", "arm_ns", "problem"]
    for kind in ("recorded", "recomputed"):
        header += [f"{kind}_{name}" for name in (*ACTION_NAMES, "q1", "q2")]
    with file.open("w", newline="") as output:
        writer = csv.writer(output)
        writer.writerow(header)
        for each in comparisons:
            for step in each.steps:
                writer.writerow([cell(value) for value in _row(each, step)])


def _row(comparison: EpisodeComparison, step: ReplayedStep) -> list[Any]:
    recorded = step.recorded
    action = recorded.actions[-1] if recorded.actions else np.full(7, np.nan)
    return [
        *(comparison.bag, comparison.episode, recorded.stamp_ns),
        *(recorded.image_ns, recorded.arm_ns or "", step.problem),
        *action.tolist(),
        *recorded.q.tolist(),
        *step.action.tolist(),
        *step.q.tolist(),
    ]
