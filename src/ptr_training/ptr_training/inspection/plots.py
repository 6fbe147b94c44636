"""The pictures of `ptr inspect`: histograms of actions and episodes, and contact sheets."""

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

from .episode_metrics import FLAGS, IDLE_STEPS, NEAR, EpisodeMetrics, details_of, flags_of
from .motion import LAGS, Dimension

FRAMES = 8
FRAME_HEIGHT = 112  # [px]
TEXT_HEIGHT = 40  # [px] of the two lines above the frames of an episode
MARGIN = 12  # [px]
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
    """Draw the histogram of every action dimension, and how well what was achieved follows it."""
    actions = store.actions[~store.steps["is_last"]]
    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    for k, (axes, each) in enumerate(zip(panels, dimensions, strict=False)):
        _action(axes, actions[:, k][np.isfinite(actions[:, k])], each)
    _correlations(panels[-1], dimensions)
    title = f"{store.card.name}: {store.card.command} commands of {len(actions)} steps (dotted: bounds)"
    figure.suptitle(_text(title, 120))
    figure.savefig(path, dpi=110)


def _action(axes: Any, values: np.ndarray, dimension: Dimension) -> None:
    margin = 0.04 * (dimension.high - dimension.low)
    low, high = (
        min(dimension.low, dimension.minimum) - margin,
        max(dimension.high, dimension.maximum) + margin,
    )
    counts, _, _ = axes.hist(values, bins=np.linspace(low, high, 51), color=BLUE)
    for bound in (dimension.low, dimension.high):
        axes.axvline(bound, color=DARK, ls=":", lw=1)
    text = f"mean {dimension.mean:.4f}, std {dimension.std:.4f}\nat bounds {dimension.at_bounds:.1%}"
    axes.text(
        0.5,
        0.97,
        text,
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=8,
        color=GREY,
    )
    unit = {"gripper": "0 closed, 1 open"}.get(
        dimension.name, "rad" if dimension.high > 0.1 else "m"
    )
    axes.set(
        title=f"{dimension.name} [{unit}]",
        yscale="log",
        ylabel="steps",
        ylim=(0.7, 20 * counts.max()),
    )
    axes.locator_params(axis="x", nbins=5)


def _correlations(axes: Any, dimensions: Sequence[Dimension]) -> None:
    for each in dimensions:
        if np.isfinite(each.correlation).any():
            axes.plot(range(LAGS), each.correlation, "o-", ms=4, lw=1.3, label=each.name)
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


def draw_episodes(path: Path, measures: Sequence[EpisodeMetrics]) -> None:
    """Draw how long the episodes are, which tasks they show, how many have which flag, and what flags depend on."""
    figure = Figure(figsize=(15, 7), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1, 2.4))
    left, right = parts
    tasks, flags = left.subplots(2, 1, gridspec_kw={"height_ratios": (2, 1.3)})
    _tasks(tasks, measures)
    _flags(flags, measures)
    panels = right.subplots(2, 3).ravel()
    _lengths(panels[0], measures)
    _spread(
        panels[1],
        [each.idle for each in measures],
        "share of idle steps",
        (0, 1),
        limit=0.5,
    )
    _spread(
        panels[2],
        [each.idle_head for each in measures],
        "idle steps at the start",
        (0, 20),
        IDLE_STEPS,
    )
    _spread(
        panels[3],
        [each.agreement for each in measures],
        "correlation of command and motion",
        (-0.2, 1),
        0.3,
    )
    _spread(
        panels[4],
        [each.jump for each in measures],
        "longest step, measured / possible",
        (0, 2),
        limit=1,
    )
    _spread(
        panels[5],
        [each.near for each in measures],
        "nearest other pictures [grey levels]",
        (0, 40),
        NEAR,
    )
    figure.savefig(path, dpi=100)


def _tasks(axes: Any, measures: Sequence[EpisodeMetrics]) -> None:
    counts = Counter(each.task for each in measures).most_common()
    title = (
        f"the {TASKS_SHOWN} most frequent of {len(counts)} tasks"
        if len(counts) > TASKS_SHOWN
        else "tasks"
    )
    _bars(axes, counts[:TASKS_SHOWN], title, BLUE)


def _flags(axes: Any, measures: Sequence[EpisodeMetrics]) -> None:
    counts = Counter(flag.name for each in measures for flag in flags_of(each))
    _bars(axes, [(flag.name, counts[flag.name]) for flag in FLAGS], "flags", RED)


def _bars(axes: Any, counts: Sequence[tuple[str, int]], title: str, colour: str) -> None:
    bars = axes.barh(range(len(counts)), [count for _, count in counts], color=colour)
    axes.bar_label(bars, padding=2, fontsize=7)
    axes.set_yticks(range(len(counts)), [_text(name, 44) for name, _ in counts], fontsize=7)
    axes.set(
        title=title,
        xlabel="episodes",
        xlim=(0, 1.12 * max(1, *(count for _, count in counts))),
    )
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.invert_yaxis()


def _lengths(axes: Any, measures: Sequence[EpisodeMetrics]) -> None:
    outcomes = sorted({each.outcome for each in measures}, reverse=True)
    longest = max(each.steps for each in measures)
    width = -(
        -longest // 40
    )  # whole steps, so that no bar covers more lengths than its neighbour
    lengths = [
        [each.steps for each in measures if each.outcome == name] for name in outcomes
    ]
    colours = [COLOURS.get(name, GREY) for name in outcomes]
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
    axes: Any, values: Sequence[float], label: str, span: tuple[float, float], limit: float
) -> None:
    """Draw a histogram; what is outside of `span` counts at its end."""
    finite = np.array([each for each in values if np.isfinite(each)])
    axes.hist(np.clip(finite, *span), bins=np.linspace(*span, 41), color=BLUE)
    axes.axvline(limit, color=RED, ls="--", lw=1.2)
    missing = len(values) - len(finite)
    axes.set(
        xlabel=label,
        ylabel="episodes",
        title=f"{missing} episodes without" if missing else "",
    )
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


# Contact sheets
# -------------------------------------------------------------------------------------


def draw_sheets(
    folder: Path,
    store: EpisodeStore,
    measures: Sequence[EpisodeMetrics],
    marks: Mapping[str, Mark],
    order: Sequence[int],
    sheets: int,
) -> list[str]:
    """Write `contact_sheet_<n>.png` and return the names.

    Args:
        folder: Where to.
        store: The episodes as written.
        measures: Theirs, for the text.
        marks: What was said of them; frames that a trim leaves out are pale.
        order: Episodes to show.
        sheets: Sheets at most.
    """
    names = []
    starts = range(0, min(len(order), sheets * EPISODES_PER_SHEET), EPISODES_PER_SHEET)
    for number, start in enumerate(
        tqdm(starts, unit="sheet", desc="contact sheets", disable=None), 1
    ):
        names.append(f"contact_sheet_{number}.png")
        members = order[start : start + EPISODES_PER_SHEET]
        _draw_sheet(
            folder / names[-1],
            store,
            [(index, measures[index]) for index in members],
            marks,
        )
    return names


def _draw_sheet(
    path: Path,
    store: EpisodeStore,
    members: Sequence[tuple[int, EpisodeMetrics]],
    marks: Mapping[str, Mark],
) -> None:
    width = max(8, round(FRAME_HEIGHT * store.card.image_width / store.card.image_height))
    row_height = TEXT_HEIGHT + FRAME_HEIGHT + MARGIN
    page = np.full(
        (len(members) * row_height + MARGIN, FRAMES * (width + 2) + 3 * MARGIN, 3),
        255,
        np.uint8,
    )
    figure = Figure(figsize=(page.shape[1] / 100, page.shape[0] / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    for place, (index, each) in enumerate(members):
        top = MARGIN + place * row_height
        mark = marks.get(each.id)
        _write(axes, top, each, mark)
        if mark:
            page[top : top + row_height - MARGIN, MARGIN // 3 : MARGIN] = _rgb(
                MARK_COLOURS[mark.verdict]
            )
        for column, step in enumerate(
            np.linspace(0, each.steps, FRAMES).round().astype(int)
        ):
            left = 2 * MARGIN + column * (width + 2)
            frame = np.array(store.frames[store.entries[index].start + step])
            frame = cv2.resize(frame, (width, FRAME_HEIGHT), interpolation=cv2.INTER_CUBIC)
            page[
                top + TEXT_HEIGHT : top + TEXT_HEIGHT + FRAME_HEIGHT, left : left + width
            ] = _shade(frame, step, mark)
            label = axes.text(
                left + 4,
                top + TEXT_HEIGHT + 4,
                str(step),
                fontsize=7,
                va="top",
                color="white",
            )
            label.set_bbox({"facecolor": DARK, "alpha": 0.6, "pad": 1.2, "linewidth": 0})
    axes.imshow(page, interpolation="none", aspect="auto")
    axes.set_axis_off()
    figure.savefig(path, dpi=100)


def _write(axes: Any, top: int, each: EpisodeMetrics, mark: Mark | None) -> None:
    """Write the two lines above the frames of an episode."""
    left = 2 * MARGIN
    axes.text(
        left, top, _text(f"{each.id}   {each.task}", 120), va="top", fontsize=9, color=DARK
    )
    about = f"{each.steps} steps, {each.outcome}"
    if mark:
        about += f"    marked {verdict_text(mark)}" + (
            f": {mark.reason}" if mark.reason else ""
        )
    about = _text(about, 80)
    line = axes.text(left, top + 19, about, va="top", fontsize=8, color=GREY)
    if found := details_of(each):
        axes.annotate(
            _text(found, 135 - len(about)), (1, 0), xycoords=line, xytext=(12, 0), textcoords="offset pixels",
            va="bottom", fontsize=8, color=RED,
        )  # fmt: skip


def _shade(frame: np.ndarray, step: int, mark: Mark | None) -> np.ndarray:
    """Return a frame, pale where the mark leaves it out."""
    if (
        mark is None
        or mark.first is None
        or mark.last is None
        or mark.first <= step <= mark.last
    ):
        return frame
    return (255 - (255 - frame.astype(np.float32)) * 0.3).astype(np.uint8)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _text(text: str, size: int) -> str:
    """Return at most `size` characters of a text, in which a dollar sign begins no formula."""
    return (text if len(text) <= size else f"{text[: size - 1]}…").replace("$", r"\$")
