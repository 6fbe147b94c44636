"""The images of `ptr inspect`: histograms of actions and episodes, and contact sheets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from ptr_training.data.marks import Mark, verdict_text
from ptr_training.data.store import EpisodeStore

from .episode_metrics import IDLE_STEPS, EpisodeMetrics
from .flags import FLAGS, NEAR, details_of, flags_of
from .motion import LAGS, Dimension

FRAMES = 8  # of an episode on a contact sheet
FRAME_HEIGHT = 112  # [px]
TEXT_HEIGHT = 40  # [px] of the two lines above the frames of an episode
MARGIN = 12  # [px]
GAP = 2  # [px] between two frames
EPISODES_PER_SHEET = 12
TASKS_SHOWN = 20

COLOURS = {
    "success": "#5a9e6f",
    "failure": "#cf4b3f",
    "stop": "#c08a2c",
    "interrupted": "#7a8794",
}
MARK_COLOURS = {"good": "#2a9d5c", "bad": "#cf4b3f", "trim": "#e0a100"}
BLUE, DARK, GREY, RED = "#2f6fb2", "#1d2733", "#51606f", "#cf4b3f"


def draw_actions(path: Path, store: EpisodeStore, dimensions: Sequence[Dimension]) -> None:
    """Draw the histogram of every action dimension, and how well the motion follows it.

    Args:
        path: PNG file to make.
        store: The episodes as written.
        dimensions: The statistics of the actions.
    """
    actions = store.actions[~store.steps["is_last"]]
    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    for axes, values, dimension in zip(panels, actions.T, dimensions, strict=False):
        _action(axes, values[np.isfinite(values)], dimension)

    _correlations(panels[-1], dimensions)
    title = f"{store.info.name}: {store.info.command} commands of {len(actions)} steps"
    figure.suptitle(_text(f"{title} (dotted: bounds)", 120))
    figure.savefig(path, dpi=110)


def _action(axes: Any, values: np.ndarray, dimension: Dimension) -> None:
    """Draw the histogram of a dimension of the action.

    Args:
        axes: To draw into.
        values: Of all steps [m, rad or opening], shape (n,).
        dimension: Its statistics.
    """
    margin = 0.04 * (dimension.high - dimension.low)
    low = min(dimension.low, dimension.minimum) - margin
    high = max(dimension.high, dimension.maximum) + margin
    counts, _, _ = axes.hist(values, bins=np.linspace(low, high, 51), color=BLUE)
    for bound in (dimension.low, dimension.high):
        axes.axvline(bound, color=DARK, ls=":", lw=1)

    text = (
        f"mean {dimension.mean:.4f}, std {dimension.std:.4f}\n"
        f"at bounds {dimension.at_bounds:.1%}"
    )
    style = {"ha": "center", "va": "top", "fontsize": 8, "color": GREY}
    axes.text(0.5, 0.97, text, transform=axes.transAxes, **style)
    unit = "rad" if dimension.high > 0.1 else "m"
    if dimension.name == "gripper":
        unit = "0 closed, 1 open"
    axes.set(
        title=f"{dimension.name} [{unit}]",
        yscale="log",
        ylabel="steps",
        ylim=(0.7, 20 * counts.max()),
    )
    axes.locator_params(axis="x", nbins=5)


def _correlations(axes: Any, dimensions: Sequence[Dimension]) -> None:
    """Draw the correlation of the motion with the commands over the lag."""
    for dimension in dimensions:
        correlation = dimension.correlation
        if np.isfinite(correlation).any():
            axes.plot(range(LAGS), correlation, "o-", ms=4, lw=1.3, label=dimension.name)

    axes.set(
        title="does the motion follow?",
        xlabel="lag [steps]",
        ylabel="correlation",
        ylim=(-0.6, 1.05),
    )
    axes.set_xticks(range(LAGS))
    if axes.lines:
        axes.legend(fontsize=7, ncol=3, loc="lower left", frameon=False)
    axes.axhline(0, color=GREY, lw=0.8)


def draw_episodes(path: Path, metrics: Sequence[EpisodeMetrics]) -> None:
    """Draw tasks, flags, lengths, and the metrics that flags depend on.

    Args:
        path: PNG file to make.
        metrics: Of each episode.
    """
    figure = Figure(figsize=(15, 7), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1, 2.4))
    left, right = parts
    tasks, flags = left.subplots(2, 1, gridspec_kw={"height_ratios": (2, 1.3)})
    _tasks(tasks, metrics)
    _flags(flags, metrics)
    panels = right.subplots(2, 3).ravel()
    _lengths(panels[0], metrics)
    spreads = (
        ("idle", "share of idle steps", (0, 1), 0.5),
        ("idle_head", "idle steps at the start", (0, 20), IDLE_STEPS),
        ("agreement", "correlation of command and motion", (-0.2, 1), 0.3),
        ("jump", "longest step, measured / possible", (0, 2), 1),
        ("near", "nearest other pictures [grey levels]", (0, 40), NEAR),
    )
    for axes, (name, label, span, limit) in zip(panels[1:], spreads, strict=True):
        values = np.array([getattr(episode, name) for episode in metrics], float)
        _spread(axes, values, label, span, limit)

    figure.savefig(path, dpi=100)


def _tasks(axes: Any, metrics: Sequence[EpisodeMetrics]) -> None:
    """Draw how many episodes the most frequent tasks have."""
    counts = Counter(episode.task for episode in metrics).most_common()
    title = "tasks"
    if len(counts) > TASKS_SHOWN:
        title = f"the {TASKS_SHOWN} most frequent of {len(counts)} tasks"
    _bars(axes, counts[:TASKS_SHOWN], title, BLUE)


def _flags(axes: Any, metrics: Sequence[EpisodeMetrics]) -> None:
    """Draw how many episodes each flag has."""
    counts: dict[str, int] = {}
    for flag in FLAGS:
        counts[flag.name] = 0
    for episode in metrics:
        for flag in flags_of(episode):
            counts[flag.name] += 1
    _bars(axes, list(counts.items()), "flags", RED)


def _bars(axes: Any, counts: Sequence[tuple[str, int]], title: str, colour: str) -> None:
    """Draw a bar with its number for each name, from the top down.

    Args:
        axes: To draw into.
        counts: Names and numbers.
        title: Above the bars.
        colour: Of the bars.
    """
    names, numbers = [], []
    for name, number in counts:
        names.append(_text(name, 44))
        numbers.append(number)

    bars = axes.barh(range(len(counts)), numbers, color=colour)
    axes.bar_label(bars, padding=2, fontsize=7)
    axes.set_yticks(range(len(counts)), names, fontsize=7)
    axes.set(title=title, xlabel="episodes", xlim=(0, 1.12 * max(1, *numbers)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.invert_yaxis()


def _lengths(axes: Any, metrics: Sequence[EpisodeMetrics]) -> None:
    """Draw the histogram of the lengths, stacked by outcome."""
    by_outcome: dict[str, list[int]] = {}
    for episode in metrics:
        by_outcome.setdefault(episode.outcome, []).append(episode.steps)

    lengths, colours = [], []
    outcomes = sorted(by_outcome, reverse=True)
    for outcome in outcomes:
        lengths.append(by_outcome[outcome])
        colours.append(COLOURS.get(outcome, GREY))

    longest = max(map(max, lengths))
    width = -(-longest // 40)  # whole steps, so that every bar covers as many lengths
    axes.hist(
        lengths,
        bins=np.arange(0, longest + 2 * width, width),
        stacked=True,
        color=colours,
        label=outcomes,
    )
    axes.set(xlabel="steps", ylabel="episodes")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(fontsize=8)


def _spread(
    axes: Any, values: np.ndarray, label: str, span: tuple[float, float], limit: float
) -> None:
    """Draw a histogram.

    Args:
        axes: To draw into.
        values: Of each episode, shape (n,); NaN where an episode has none.
        label: Below the histogram.
        span: Range that is shown; values outside of it count at its ends.
        limit: Where a flag begins.
    """
    finite = values[np.isfinite(values)]
    axes.hist(np.clip(finite, *span), bins=np.linspace(*span, 41), color=BLUE)
    axes.axvline(limit, color=RED, ls="--", lw=1.2)
    missing = len(values) - len(finite)
    title = f"{missing} episodes without" if missing else ""
    axes.set(xlabel=label, ylabel="episodes", title=title)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


# Contact sheets
# ---------------------------------------------------------------------------------------


def draw_sheets(
    folder: Path,
    store: EpisodeStore,
    metrics: Sequence[EpisodeMetrics],
    marks: Mapping[str, Mark],
    order: Sequence[int],
    sheets: int,
) -> list[str]:
    """Write `contact_sheet_<n>.png` and return the names.

    Args:
        folder: Where to.
        store: The episodes as written.
        metrics: Of each episode, for the text.
        marks: Marks of the episodes; frames outside of a trim are pale.
        order: Indices of the episodes to show.
        sheets: Sheets at most.
    """
    names = []
    starts = range(0, min(len(order), sheets * EPISODES_PER_SHEET), EPISODES_PER_SHEET)
    bar = tqdm(starts, unit="sheet", desc="contact sheets", disable=None)
    for number, start in enumerate(bar, 1):
        name = f"contact_sheet_{number}.png"
        members = order[start : start + EPISODES_PER_SHEET]
        _draw_sheet(folder / name, store, metrics, marks, members)
        names.append(name)

    return names


def _draw_sheet(
    path: Path,
    store: EpisodeStore,
    metrics: Sequence[EpisodeMetrics],
    marks: Mapping[str, Mark],
    members: Sequence[int],
) -> None:
    """Draw one contact sheet; arguments as of `draw_sheets`, `members` are its episodes."""
    info = store.info
    frame_width = max(8, round(FRAME_HEIGHT * info.image_width / info.image_height))
    row_height = TEXT_HEIGHT + FRAME_HEIGHT + MARGIN
    height = len(members) * row_height + MARGIN
    width = FRAMES * (frame_width + GAP) + 3 * MARGIN
    page = np.full((height, width, 3), 255, np.uint8)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    for place, index in enumerate(members):
        top = MARGIN + place * row_height
        mark = marks.get(metrics[index].id)
        _write(axes, top, metrics[index], mark)
        if mark:
            colour = _rgb(MARK_COLOURS[mark.verdict])
            page[top : top + row_height - MARGIN, MARGIN // 3 : MARGIN] = colour
        entry = store.entries[index]
        steps = np.linspace(0, entry.length, FRAMES).round().astype(int)
        for column, step in enumerate(steps):
            left = 2 * MARGIN + column * (frame_width + GAP)
            frame = np.array(store.frames[entry.start + step])
            size = (frame_width, FRAME_HEIGHT)
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
            rows = slice(top + TEXT_HEIGHT, top + TEXT_HEIGHT + FRAME_HEIGHT)
            page[rows, left : left + frame_width] = _shade(frame, step, mark)
            _write_step(axes, left, top + TEXT_HEIGHT, step)

    axes.imshow(page, interpolation="none", aspect="auto")
    axes.set_axis_off()
    figure.savefig(path, dpi=100)


def _write_step(axes: Any, left: int, top: int, step: int) -> None:
    """Write the index of a frame into its corner [px]."""
    style = {"fontsize": 7, "va": "top", "color": "white"}
    label = axes.text(left + 4, top + 4, str(step), **style)
    label.set_bbox({"facecolor": DARK, "alpha": 0.6, "pad": 1.2, "linewidth": 0})


def _write(axes: Any, top: int, metrics: EpisodeMetrics, mark: Mark | None) -> None:
    """Write the two lines above the frames of an episode.

    Args:
        axes: To write into.
        top: Upper edge of the first line [px].
        metrics: Of the episode.
        mark: Of the episode, if it has one.
    """
    left = 2 * MARGIN
    title = _text(f"{metrics.id}   {metrics.task}", 120)
    axes.text(left, top, title, va="top", fontsize=9, color=DARK)
    about = f"{metrics.steps} steps, {metrics.outcome}"
    if mark:
        about += f"    marked {verdict_text(mark)}"
        if mark.reason:
            about += f": {mark.reason}"

    about = _text(about, 80)
    line = axes.text(left, top + 19, about, va="top", fontsize=8, color=GREY)
    details = details_of(metrics)
    if details:
        axes.annotate(
            _text(details, 135 - len(about)),
            (1, 0),
            xycoords=line,
            xytext=(12, 0),
            textcoords="offset pixels",
            va="bottom",
            fontsize=8,
            color=RED,
        )


def _shade(frame: np.ndarray, step: int, mark: Mark | None) -> np.ndarray:
    """Return a frame, pale where the mark leaves it out."""
    if mark is None or mark.first is None or mark.last is None:
        return frame
    if mark.first <= step <= mark.last:
        return frame
    return (255 - (255 - frame.astype(np.float32)) * 0.3).astype(np.uint8)


def _rgb(colour: str) -> tuple[int, ...]:
    """Return red, green and blue of a colour such as `#2a9d5c`, 0 to 255."""
    return tuple(bytes.fromhex(colour[1:]))


def _text(text: str, size: int) -> str:
    """Return at most `size` characters of a text, in which a dollar sign begins no formula."""
    if len(text) > size:
        text = f"{text[: size - 1]}…"
    return text.replace("$", r"\$")
