"""Statistics of features in LeRobot data sets: range, mean, deviation and quantiles.

Images are counted first: the statistics follow from how often each level occurs in each
channel, so that many images need no more memory than one.
"""

from __future__ import annotations

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
LEVELS = np.arange(256) / 255
"""Levels of a pixel on the scale of the statistics, 0 to 1."""

Stats = dict[str, list]
"""Lists of numbers by the names of the statistics; `count` is that of the frames."""


def feature_stats(values: np.ndarray) -> Stats:
    """Return the statistics of a feature over frames.

    Args:
        values: Shape (n,) or (n, d).

    Returns:
        Lists of d numbers each, in double precision; `count` is [n].
    """
    rows = values.reshape(len(values), -1).astype(float)
    stats = {
        "min": rows.min(0).tolist(),
        "max": rows.max(0).tolist(),
        "mean": rows.mean(0).tolist(),
        "std": rows.std(0).tolist(),
    }
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    for name, quantile in zip(QUANTILES, quantiles, strict=True):
        stats[name] = quantile.tolist()

    stats["count"] = [len(rows)]
    return stats


def level_counts(frames: np.ndarray) -> np.ndarray:
    """Return how often each level occurs in each channel, shape (3, 256).

    Args:
        frames: Shape (n, height, width, 3), uint8.
    """
    counts = np.zeros((3, 256), np.int64)
    for channel in range(3):
        counts[channel] = np.bincount(frames[..., channel].ravel(), minlength=256)
    return counts


def image_stats(counts: np.ndarray, images: int) -> Stats:
    """Return the statistics of images.

    Args:
        counts: How often each level occurs in each channel, shape (3, 256).
        images: Number of images.

    Returns:
        Lists of shape (3, 1, 1), on a scale of 0 to 1; `count` is [images].
    """
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ LEVELS
    occurs = counts > 0
    figures = {
        "min": LEVELS[occurs.argmax(1)],
        "max": LEVELS[255 - occurs[:, ::-1].argmax(1)],
        "mean": mean,
        "std": np.sqrt((share * (LEVELS - mean[:, None]) ** 2).sum(1)),
    }
    cumulative = share.cumsum(1)
    for name, quantile in QUANTILES.items():
        figures[name] = LEVELS[(cumulative >= quantile - 1e-9).argmax(1)]

    stats: Stats = {}
    for name, figure in figures.items():
        stats[name] = figure.reshape(3, 1, 1).tolist()

    stats["count"] = [images]
    return stats
