"""The metrics of a run, in `metrics.csv` and for the loggers beside it.

A line holds the means over the steps of a log interval.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ptr_common.files import atomic_file
from ptr_training.agents import Metrics
from ptr_training.data.distributed import DistributedContext

from .config import Config
from .loggers import Logger, TensorBoardLogger, WandbLogger

HELD_OUT = "heldout/"
"""Beginning of the names of values on held-out episodes."""


class MetricsLog:
    """Means of the metrics since the last line, written to a run folder.

    Args:
        folder: The run folder; nothing is written if it is None.
        step: The step that training continues from; lines of later steps are dropped.
        config: What the run was configured with.
    """

    def __init__(
        self, folder: Path | None, step: int, config: Config | None = None
    ) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0
        self._rows: list[dict[str, Any]] = []
        self._loggers: list[Logger] = []
        if folder is None:
            return
        self._path = folder / "metrics.csv"
        self._rows = _rows_until(self._path, step)
        self._loggers.append(TensorBoardLogger(folder, step))
        if config is not None and config.wandb != "disabled":
            self._loggers.append(WandbLogger(folder, config.wandb, config.to_dict()))

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for logger in self._loggers:
            logger.close()

    def add(self, metrics: Metrics) -> None:
        """Add the metrics of one step; those of another phase of the agent start a new mean."""
        if metrics.keys() != self._sums.keys():
            self._sums, self._count = {}, 0
        sums = {}
        for name, value in metrics.items():
            sums[name] = value + self._sums.get(name, 0.0)
        self._sums = sums
        self._count += 1

    def means(self, context: DistributedContext) -> dict[str, float]:
        """Return the means over the steps since the last line and over all processes."""
        means = {}
        for name, value in context.average(self._sums).items():
            means[name] = float(value) / self._count
        return means

    def write(self, step: int, means: dict[str, float]) -> None:
        """Write the line of a step, and begin the means of the next line."""
        self._sums, self._count = {}, 0
        if not self._loggers:
            return
        self._put(step, means)

    def write_held_out(self, step: int, values: dict[str, float]) -> None:
        """Write values on held-out episodes; the means of the next line go on."""
        self._put(step, {HELD_OUT + name: value for name, value in values.items()})

    def history(self, name: str) -> list[tuple[int, float]]:
        """Return the steps at which a value was written, and the values as the file has them."""
        found = []
        for row in self._rows:
            if row.get(name):
                found.append((int(row["step"]), float(row[name])))
        return found

    def _put(self, step: int, values: dict[str, float]) -> None:
        """Add values to the line of a step."""
        if not self._rows or int(self._rows[-1]["step"]) != step:
            self._rows.append({"step": step})
        for logger in self._loggers:
            logger.write(step, values)
        for name, value in values.items():
            self._rows[-1][name] = f"{value:.6g}"
        with atomic_file(self._path) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns(), restval="")
            writer.writeheader()
            writer.writerows(self._rows)

    def lowest(self, metric: str, steps: Iterable[int]) -> tuple[int, float] | None:
        """Return the step at which a metric was smallest, a mean over the lines up to it.

        Args:
            metric: Its name.
            steps: To choose from; the lines of a step are those after the step before it.

        Returns:
            The step and the mean; None where no line has the metric.
        """
        means = {}
        before = 0
        for step in sorted(steps):
            values = []
            for row in self._rows:
                if before < int(row["step"]) <= step and row.get(metric):
                    values.append(float(row[metric]))
            if values:
                means[step] = sum(values) / len(values)
            before = step
        if not means:
            return None
        best = min(means, key=lambda step: means[step])
        return best, means[best]

    def _columns(self) -> list[str]:
        """Return the names of all metrics, in the order in which they first occur.

        Those on held-out episodes come last.
        """
        columns: dict[str, None] = {}
        for row in self._rows:
            columns.update(dict.fromkeys(row))
        return sorted(columns, key=lambda name: name.startswith(HELD_OUT))


def _rows_until(path: Path, step: int) -> list[dict[str, Any]]:
    """Return the lines of a metrics file up to a step."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= step]
