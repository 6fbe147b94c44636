"""The result of a calibration: a plot, and a table for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptr_common.files import atomic_file
from ptr_common.text_table import text_table
from widowx_bringup.camera.latency import LAGS, Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 8.0
"""Part of the recording that is drawn [s]."""

HEADER = ("camera", "latency", "frames", "uncertainty", "correlation", "rate")


def draw(measurement: Measurement, camera: str, path: Path) -> None:
    """Write a plot of image change and joint motion, and of their correlation.

    Image change and motion are drawn twice: by the stamps, and with the latency subtracted.

    Args:
        measurement: The result.
        camera: Name of the camera, for the title.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    latency_ms = 1e3 * measurement.latency
    figure = Figure(figsize=(9, 8), layout="constrained")
    stamped, corrected, curve = figure.subplots(3, 1)
    _draw_series(stamped, measurement, 0.0, f"{camera}: as stamped")
    _draw_series(
        corrected, measurement, measurement.latency, f"images {latency_ms:.1f} ms earlier"
    )
    curve.plot(1e3 * LAGS, measurement.curve)
    curve.axvline(latency_ms, color="tab:red", label="whole recording")
    for part in measurement.parts:
        curve.axvline(1e3 * part, color="tab:red", linewidth=0.5, linestyle=":")
    curve.set(
        xlabel="latency [ms]",
        ylabel="correlation",
        title="of both, for each latency (dotted: parts alone)",
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw_series(axes: Axes, measurement: Measurement, latency: float, title: str) -> None:
    """Draw image change and joint motion of the first seconds, each relative to its maximum."""
    shown = measurement.times < measurement.times[0] + SHOWN
    distance = measurement.distance[np.abs(LAGS - latency).argmin()]
    series = {"change of the image": measurement.change, "motion of the joints": distance}
    for label, values in series.items():
        axes.plot(
            measurement.times[shown], values[shown] / (values.max() or 1.0), label=label
        )
    axes.set(
        xlabel="time [s]",
        ylabel="per interval, of the largest",
        title=title,
        ylim=(-0.05, 1.4),
    )
    axes.legend(loc="upper right", ncols=2)


def table(measurement: Measurement, camera: str) -> str:
    """Return the result as a table for the terminal."""
    row = (
        camera,
        f"{1e3 * measurement.latency:.1f} ms",
        f"{measurement.frames:.2f}",
        f"{1e3 * measurement.uncertainty:.1f} ms",
        f"{measurement.correlation:.2f}",
        f"{1 / measurement.interval:.1f} Hz",
    )
    return text_table(HEADER, [row])
