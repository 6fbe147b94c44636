"""Results of evaluation rollouts: one row each, a summary with Wilson intervals, film strips."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file

STRIP_FRAMES = 8
STRIP_HEIGHT = 120  # [px]


class ResultsError(PtrError):
    """A table of results is missing or is not one of ours."""


@dataclass(frozen=True)
class Rollout:
    """One evaluation rollout."""

    method: str
    rollout: int  # index of the layout, the same for every method
    layout_seed: int
    task: str
    success: bool
    steps: int  # control steps carried out
    duration: float  # [s] of the robot's clock
    clipped: int  # commands shortened by a limit
    held: int  # times the arm went into holding
    rejected: int  # commands refused
    reason: str  # why it ended
    bag: str  # path relative to the results; empty when none was recorded
    strip: str  # film strip, path relative to the results


@dataclass(frozen=True)
class Summary:
    """Successes of one method over its rollouts."""

    method: str
    successes: int
    rollouts: int
    rate: float
    low: float  # Wilson interval, 95 %
    high: float
    mean_steps: float  # over successful rollouts; NaN when there is none
    clipped: int
    held: int
    rejected: int


def wilson_interval(
    successes: int, trials: int, z: float = 1.959964
) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    Args:
        successes: Number of successes, 0 .. `trials`.
        trials: Number of trials.
        z: Normal quantile; the default gives 95 %.

    Returns:
        Lower and upper bound in [0, 1]; (0, 1) without trials.

    Source: E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    denominator = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / denominator
    half = (
        z
        / denominator
        * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    )
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def summarise(rollouts: Sequence[Rollout]) -> list[Summary]:
    """Return one summary per method, in the order the methods first appear."""
    summaries = []
    for method in dict.fromkeys(rollout.method for rollout in rollouts):
        rows = [rollout for rollout in rollouts if rollout.method == method]
        won = [row for row in rows if row.success]
        low, high = wilson_interval(len(won), len(rows))
        summaries.append(
            Summary(
                method=method,
                successes=len(won),
                rollouts=len(rows),
                rate=len(won) / len(rows),
                low=low,
                high=high,
                mean_steps=float(np.mean([row.steps for row in won])) if won else math.nan,
                clipped=sum(row.clipped for row in rows),
                held=sum(row.held for row in rows),
                rejected=sum(row.rejected for row in rows),
            )
        )
    return summaries


def table(summaries: Sequence[Summary]) -> str:
    """Return the summaries as text to read on a terminal."""
    width = max([len("method"), *(len(summary.method) for summary in summaries)])
    lines = [
        f"{'method':<{width}}  success  rate   95 % (Wilson)   steps  clipped  held  rejected"
    ]
    for s in summaries:
        steps = "  –  " if math.isnan(s.mean_steps) else f"{s.mean_steps:5.1f}"
        lines.append(
            f"{s.method:<{width}}  {s.successes:>3}/{s.rollouts:<3}  {s.rate:4.0%}   {s.low:4.0%} … {s.high:4.0%}   "
            f"  {steps}  {s.clipped:>7}  {s.held:>4}  {s.rejected:>8}"
        )
    return "\n".join(lines)


def write_results(folder: Path, rollouts: Sequence[Rollout], about: dict[str, Any]) -> None:
    """Write `results.csv` (a row per rollout) and `results.json` (summary and what was run)."""
    with atomic_file(folder / "results.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Rollout)])
        writer.writeheader()
        writer.writerows(asdict(rollout) for rollout in rollouts)
    summaries = [asdict(summary) for summary in summarise(rollouts)]
    for summary in summaries:
        summary["mean_steps"] = (
            None if math.isnan(summary["mean_steps"]) else summary["mean_steps"]
        )
    with atomic_file(folder / "results.json") as path:
        path.write_text(json.dumps({"about": about, "methods": summaries}, indent=2) + "\n")


def read_results(folder: Path) -> list[Rollout]:
    """Return the rollouts in `results.csv`; an absent file is no rollouts.

    Raises:
        ResultsError: If the columns are not those of `Rollout`.
    """
    path = folder / "results.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        expected = [field.name for field in fields(Rollout)]
        if reader.fieldnames != expected:
            raise ResultsError(
                f"{path}: columns {reader.fieldnames}, expected {expected}; choose another --out"
            )
        return [_parse(row) for row in reader]


def _parse(row: dict[str, str]) -> Rollout:
    convert: dict[str, Callable[[str], Any]] = {
        "bool": lambda text: text == "True",
        "int": int,
        "float": float,
        "str": str,
    }
    return Rollout(
        **{
            field.name: convert[str(field.type)](row[field.name])
            for field in fields(Rollout)
        }
    )


def film_strip(frames: Sequence[np.ndarray], count: int = STRIP_FRAMES) -> np.ndarray:
    """Return evenly spaced frames side by side, first and last included.

    Args:
        frames: RGB images, each (H, W, 3) uint8; at least one.
        count: How many to show.

    Returns:
        One RGB image, (STRIP_HEIGHT, width, 3) uint8.
    """
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    height, width = frames[0].shape[:2]
    size = (round(width * STRIP_HEIGHT / height), STRIP_HEIGHT)
    return np.hstack(
        [cv2.resize(frames[i], size, interpolation=cv2.INTER_AREA) for i in chosen]
    )


def write_film_strip(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write a film strip as a JPEG file."""
    ok, data = cv2.imencode(
        ".jpg", film_strip(frames)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    if not ok:
        raise ResultsError(f"{path}: the film strip could not be encoded as JPEG")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())
