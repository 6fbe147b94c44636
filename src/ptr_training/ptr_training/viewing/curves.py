"""Curves of a timeline as SVG: Q and actions on the time axis of the film.

The drawing is `WIDTH` units wide. Of its time axis, the first image lies half an image of a
film strip of `STRIP` images from the left edge, the last one as far from the right edge: below
such a strip of the same width, every image stands above its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from .timeline import Series, Timeline

STRIP = 8
"""Images of a film strip that the curves fit under."""

WIDTH = 400.0
LEFT = WIDTH / STRIP / 2
RIGHT = WIDTH - LEFT
"""Ends of the time axis."""

COLOURS = ("#0072b2", "#d55e00", "#009e73")
GREY, RED, DARK = "#6b7785", "#cf4b3f", "#1d2733"
TITLE_HEIGHT = 15.0
GAP = 7.0
AXIS_HEIGHT = 18.0
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Possible distances of two numbers on the time axis [s]."""

STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#1d2733}.n{fill:#6b7785;font-size:9px}"
    "polyline{fill:none;stroke-width:1.4}.r{stroke-dasharray:3 2;stroke-width:1.1}"
    ".g{stroke:#d5dbe1;stroke-width:.7}"
)


@dataclass(frozen=True)
class Curve:
    """One curve of a panel."""

    name: str
    times: np.ndarray  # (n,) [s]
    values: np.ndarray  # (n,)
    colour: str
    dashed: bool = False
    stepped: bool = False  # each value holds until the next one


@dataclass(frozen=True)
class Panel:
    """Curves with one vertical axis."""

    title: str
    height: float
    curves: list[Curve]


def panels_of(timeline: Timeline) -> list[Panel]:
    """Return the panels that have something to show."""
    q = timeline.q
    panels = [Panel("Q of the action", 84.0, _curves(q, ("Q1", "Q2"), COLOURS))]
    for title, first, scale in (
        ("translation [mm a step]", 0, 1e3),
        ("rotation [° a step]", 3, 180 / np.pi),
    ):
        names = ("x", "y", "z") if first == 0 else ("roll", "pitch", "yaw")
        curves = _columns(timeline.requested, names, first, scale, dashed=True)
        curves += _columns(timeline.executed, names, first, scale)
        panels.append(Panel(title, 70.0, curves))
    gripper = []
    for name, series, colour, dashed in (
        ("command", timeline.requested, COLOURS[0], True),
        ("command", timeline.executed, COLOURS[0], False),
        ("measured", timeline.proprio, COLOURS[1], False),
    ):
        stepped = series is not timeline.proprio
        values = series.values[:, 6]
        gripper.append(Curve(name, series.times, values, colour, dashed, stepped))
    panels.append(Panel("gripper (0 closed, 1 open)", 44.0, gripper))
    shown = []
    for panel in panels:
        curves = [curve for curve in panel.curves if np.isfinite(curve.values).any()]
        if curves:
            shown.append(Panel(panel.title, panel.height, curves))
    return shown


def _curves(series: Series, names: Sequence[str], colours: Sequence[str]) -> list[Curve]:
    """Return a curve for each column of a series."""
    curves = []
    for column, name in enumerate(names):
        values = series.values[:, column]
        curves.append(Curve(name, series.times, values, colours[column]))
    return curves


def _columns(
    series: Series, names: Sequence[str], first: int, scale: float, *, dashed: bool = False
) -> list[Curve]:
    """Return a curve for each of three columns of actions, from `first` on."""
    curves = []
    for index, name in enumerate(names):
        values = scale * series.values[:, first + index]
        curves.append(Curve(name, series.times, values, COLOURS[index], dashed))
    return curves


def curves_svg(timeline: Timeline) -> str:
    """Return the curves as an SVG element; holds are shaded, clipped commands ticked in red."""
    panels = panels_of(timeline)
    axis = _Axis(timeline.seconds)
    parts, top = [], 0.0
    for panel in panels:
        parts += _panel(panel, top + TITLE_HEIGHT, axis)
        top += TITLE_HEIGHT + panel.height + GAP
    height = top + AXIS_HEIGHT
    shades = _shades(timeline, axis, top)
    label = escape(f"Q and actions of {timeline.title} over {timeline.seconds:.1f} s")
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:.0f}" '
            f'role="img" aria-label="{label}" class="curves">',
            f"<style>{STYLE}</style>",
            *shades,
            *parts,
            *_time_axis(axis, top),
            "</svg>",
        ]
    )


@dataclass(frozen=True)
class _Axis:
    """The time axis.

    Args:
        seconds: Its length [s].
    """

    seconds: float

    def x(self, time: float) -> float:
        """Return the place of a time; those outside are at the ends."""
        share = time / self.seconds if self.seconds > 0 else 0.0
        return LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT)


def _shades(timeline: Timeline, axis: _Axis, bottom: float) -> list[str]:
    """Return rectangles where the arm held, ticks of clipped commands, lines of events."""
    shapes = []
    for span in timeline.holds:
        left = axis.x(span.start)
        width = max(1.5, axis.x(span.end) - left)
        shapes.append(
            f'<rect x="{left:.1f}" y="0" width="{width:.1f}" height="{bottom:.0f}" '
            f'fill="{RED}" opacity=".14"><title>{escape(f"held: {span.text}")}</title></rect>'
        )
    for mark in timeline.marks:
        x = axis.x(mark.time)
        shapes.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TITLE_HEIGHT:g}" y2="{bottom:.0f}" '
            f'stroke="{GREY}" stroke-dasharray="1 3"><title>{escape(mark.text)}</title></line>'
        )
    for time in timeline.clips:
        x = axis.x(time)
        shapes.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom - 4:.0f}" y2="{bottom:.0f}" '
            f'stroke="{RED}" stroke-width="1.6"><title>clipped</title></line>'
        )
    return shapes


def _panel(panel: Panel, top: float, axis: _Axis) -> list[str]:
    """Return title, lines and curves of a panel.

    Args:
        panel: The panel.
        top: Its upper edge, below the title.
        axis: The time axis.
    """
    values = np.concatenate([curve.values for curve in panel.curves])
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    bottom = top + panel.height
    parts = [f'<text x="{LEFT:g}" y="{top - 4:.1f}">{_legend(panel)}</text>']
    for value, y in ((high, top), (low, bottom)):
        parts.append(f'<path class="g" d="M{LEFT:g} {y:.1f}H{RIGHT:g}"/>')
        text = f"{value:.2g}"
        parts.append(
            f'<text class="n" x="{LEFT - 3:g}" y="{y + 3:.1f}" text-anchor="end">{text}</text>'
        )
    if low < 0 < high:
        y = top + panel.height * high / (high - low)
        parts.append(f'<path class="g" d="M{LEFT:g} {y:.1f}H{RIGHT:g}"/>')
    for curve in panel.curves:
        heights = top + panel.height * (high - curve.values) / (high - low)
        parts += _polylines(curve, heights, axis)
    return parts


def _legend(panel: Panel) -> str:
    """Return the title of a panel with the names of its curves, each once, in their colours."""
    parts = [escape(panel.title)]
    named: dict[str, str] = {}
    for curve in panel.curves:
        named.setdefault(curve.name, curve.colour)
    for name, colour in named.items():
        parts.append(f'<tspan dx="7" style="fill:{colour}">{escape(name)}</tspan>')
    if any(curve.dashed for curve in panel.curves):
        parts.append('<tspan dx="7" class="n">dashed: requested</tspan>')
    return "".join(parts)


def _polylines(curve: Curve, heights: np.ndarray, axis: _Axis) -> list[str]:
    """Return the lines of a curve; there is a gap where a value is not finite."""
    lines: list[str] = []
    points: list[str] = []
    before = ""
    for time, y in zip(curve.times, heights, strict=True):
        if not np.isfinite(y):
            lines += _polyline(curve, points)
            points, before = [], ""
            continue
        x = f"{axis.x(time):.1f}"
        if curve.stepped and before:
            points.append(f"{x},{before}")
        before = f"{y:.1f}"
        points.append(f"{x},{before}")
    return lines + _polyline(curve, points)


def _polyline(curve: Curve, points: list[str]) -> list[str]:
    """Return the line through some points, if there are any."""
    if not points:
        return []
    kind = ' class="r"' if curve.dashed else ""
    if len(points) == 1:
        x, y = points[0].split(",")
        return [f'<circle cx="{x}" cy="{y}" r="1.5" fill="{curve.colour}"/>']
    return [f'<polyline{kind} stroke="{curve.colour}" points="{" ".join(points)}"/>']


def _time_axis(axis: _Axis, top: float) -> list[str]:
    """Return the numbers below the panels."""
    step = next((step for step in TICKS if axis.seconds / step <= 10), TICKS[-1])
    parts = []
    for time in np.arange(0.0, axis.seconds + 1e-6, step):
        x = axis.x(float(time))
        unit = " s" if time == 0 else ""
        parts.append(f'<path class="g" d="M{x:.1f} {top - GAP + 2:.1f}v5"/>')
        parts.append(
            f'<text class="n" x="{x:.1f}" y="{top + 9:.1f}" text-anchor="middle">'
            f"{time:g}{unit}</text>"
        )
    return parts
