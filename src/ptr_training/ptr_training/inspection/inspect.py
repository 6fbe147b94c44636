"""`ptr inspect`: what a store of episodes holds and what of it is worth a look, as text, tables and pictures.

Everything is measured on the store as it was written; the marks of `ptr review` are shown
beside it. How is said in `measures.py`, `motion.py` and `frame_scan.py`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ptr_common.files import atomic_folder
from ptr_training.data.episode import StoreError
from ptr_training.data.marks import Mark, current_marks, read_marks, verdict_text
from ptr_training.data.store import EpisodeStore

from .episode_metrics import FLAGS, EpisodeMetrics, details_of, flags_of, measure
from .motion import LAGS, Dimension

TASKS_SHOWN = 20  # in the terminal; the files have all
CELL = 80  # characters of a cell there
ROWS_SHOWN = 500  # tasks, and flagged episodes, on the page; the other files have all

ACTIONS_EXPLAINED = (
    "of ±1: std where the bounds are -1 and 1, which min_action_std is compared with; lag: correlation of the command "
    "with the motion so many steps later (gripper: with the opening); gain: achieved / commanded at the best lag"
)

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; color: #1d2733 }
h1 { font-size: 1.6rem } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dbe1 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .7rem; text-align: left }
th { border-bottom: 2px solid #1d2733 } tr + tr td { border-top: 1px solid #e4e8ec }
code { background: #f1f4f7; padding: .1rem .3rem; border-radius: 3px; overflow-wrap: anywhere } img { max-width: 100% }
"""


@dataclass(frozen=True)
class Inspection:
    """What was found out about a store."""

    store: EpisodeStore  # as written
    measures: list[EpisodeMetrics]
    dimensions: list[Dimension]
    intact: bool  # the pixels are those of the card
    marks: dict[str, Mark]

    def ordered(self) -> list[int]:
        """Return the episodes' positions, those with most flags first."""
        flags = [len(flags_of(each)) for each in self.measures]
        return sorted(range(len(flags)), key=lambda index: -flags[index])


def main(argv: list[str]) -> None:
    """Show what a store of episodes holds, and which of them are worth a look."""
    parser = argparse.ArgumentParser(prog="ptr inspect", description=main.__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the episodes")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to make [STORE-inspection]"
    )
    parser.add_argument(
        "--sheets",
        type=int,
        default=10,
        metavar="N",
        help="contact sheets at most [%(default)s]",
    )
    args = parser.parse_args(argv)
    if args.sheets < 0:
        raise StoreError(f"--sheets is {args.sheets}; it must be 0 or more")
    out = args.out or _beside(args.store)
    inspection = inspect_store(args.store, out, args.sheets)
    print("\n".join(report(inspection)))
    print(f"\npictures and all tables: {out / 'index.html'}")
    command = shlex.join(
        ["ptr", "review", str(args.store), "--from", str(out / "episodes.csv")]
    )
    print(
        f"to mark episodes, fill in the column `verdict` of episodes.csv and run: {command}"
    )


def inspect_store(path: Path, out: Path, sheets: int) -> Inspection:
    """Measure a store and write what was found into a new folder.

    Args:
        path: Folder of the store; nothing in it is changed.
        out: Folder to make, outside of the store; it appears only once complete.
        sheets: Contact sheets at most; episodes with most flags come first.

    Raises:
        PtrError: If the store or its marks cannot be read, or `out` exists or lies in the
        store.
    """
    if out.resolve().is_relative_to(path.resolve()):
        raise StoreError(
            f"{out} lies in the store {path}, which holds its own files only; choose another --out"
        )
    if out.exists():  # may hold a table that was filled in by hand
        raise StoreError(f"{out} exists already; choose another --out or remove it first")
    store = EpisodeStore.open(path, reviewed=False)
    marks = current_marks(read_marks(path, store.entries))
    inspection = Inspection(store, *measure(store), marks)
    from . import plots as pictures

    with atomic_folder(out) as folder:
        (folder / "inspection.json").write_text(
            json.dumps(_described(inspection), indent=1) + "\n"
        )
        _write_table(folder / "episodes.csv", inspection)
        pictures.draw_actions(folder / "actions.png", store, inspection.dimensions)
        pictures.draw_episodes(folder / "episodes.png", inspection.measures)
        order = inspection.ordered()
        pages = pictures.draw_sheets(
            folder, store, inspection.measures, marks, order, sheets
        )
        (folder / "index.html").write_text(_page(inspection, pages), encoding="utf-8")
    return inspection


def _beside(store: Path) -> Path:
    store = store if store.name not in ("", "..") else store.resolve()
    return store.with_name(f"{store.name}-inspection")


# Text
# -----------------------------------------------------------------------------------------------


def report(inspection: Inspection) -> list[str]:
    """Return what was found as lines for a terminal."""
    lines = [f"{name:<9}  {value}" for name, value in _facts(inspection)]
    tasks = _task_rows(inspection)
    lines += ["", *_columns(tasks[: TASKS_SHOWN + 1])]
    if len(tasks) > TASKS_SHOWN + 1:
        lines.append(f"… and {len(tasks) - TASKS_SHOWN - 1} more tasks")
    lines += ["", *_columns(_action_rows(inspection.dimensions)), ACTIONS_EXPLAINED, ""]
    flagged = _flag_rows(inspection)
    return lines + (_columns(flagged) if len(flagged) > 1 else ["no episode has a flag"])


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
    store, card = inspection.store, inspection.store.card
    steps = sum(each.steps for each in inspection.measures)
    verdicts = Counter(mark.verdict for mark in inspection.marks.values())
    return [
        (
            "store",
            f"{store.path}: {card.name}, {len(store)} episodes of {len(store.tasks)} tasks",
        ),
        ("steps", f"{steps}, {steps / card.rate / 60:.1f} min at {card.rate:g} Hz"),
        ("camera", f"{card.camera}, {card.camera_width}x{card.camera_height} pixels"),
        ("images", f"{card.image_width}x{card.image_height} pixels, by {card.resize}"),
        (
            "command",
            f"{card.command} is learnt from; the last {card.last_n} steps of a success are rewarded",
        ),
        ("licence", card.licence),
        ("sources", str(len(card.sources))),
        (
            "pixels",
            "as card.yaml says"
            if inspection.intact
            else "ALTERED: not those of card.yaml; copy them again",
        ),
        (
            "marks",
            ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
            or "none",
        ),
    ]


def _task_rows(inspection: Inspection) -> list[list[str]]:
    """Return a header and a row per task, the tasks with most episodes first."""
    outcomes = sorted({each.outcome for each in inspection.measures})
    rows = [["task", "episodes", "steps", *outcomes, "flagged"]]
    tasks: dict[str, list[EpisodeMetrics]] = {}
    for each in inspection.measures:
        tasks.setdefault(each.task, []).append(each)
    for task, members in sorted(tasks.items(), key=lambda item: -len(item[1])):
        ends = Counter(each.outcome for each in members)
        flagged = sum(bool(flags_of(each)) for each in members)
        steps = sum(each.steps for each in members)
        rows.append(
            [
                task,
                *(
                    str(value)
                    for value in (
                        len(members),
                        steps,
                        *(ends[name] for name in outcomes),
                        flagged,
                    )
                ),
            ]
        )
    return rows


def _action_rows(dimensions: Iterable[Dimension]) -> list[list[str]]:
    lags = [f"lag {lag}" for lag in range(LAGS)]
    rows = [
        [
            "action",
            "min",
            "mean",
            "std",
            "max",
            "of ±1",
            "at bounds",
            "beyond",
            *lags,
            "gain",
        ]
    ]
    for each in dimensions:
        values = [
            f"{value:.4f}" for value in (each.minimum, each.mean, each.std, each.maximum)
        ]
        shares = [f"{each.deviation:.3f}", f"{each.at_bounds:.1%}", f"{each.beyond:.1%}"]
        rows.append(
            [
                each.name,
                *values,
                *shares,
                *(_number(value) for value in (*each.correlation, each.gain)),
            ]
        )
    return rows


def _flag_rows(inspection: Inspection) -> list[list[str]]:
    rows = [["flag", "episodes", "what it means", "which"]]
    for flag in FLAGS:
        names = [each.id for each in inspection.measures if flag.holds(each)]
        if names:
            some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            rows.append([flag.name, str(len(names)), flag.meaning, some])
    return rows


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines of aligned columns; numbers to the right."""
    rows = [
        [cell if len(cell) <= CELL else f"{cell[: CELL - 1]}…" for cell in row]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [
        all(cell[:1] in "-–0123456789" for cell in column[1:])
        for column in zip(*rows, strict=True)
    ]
    lines = []
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        lines.append(
            "  ".join(
                f"{cell:>{w}}" if to_right else f"{cell:<{w}}"
                for cell, w, to_right in cells
            ).rstrip()
        )
    return lines


# Files
# ----------------------------------------------------------------------------------------------


def _described(inspection: Inspection) -> dict[str, Any]:
    store = inspection.store
    header, *rows = _task_rows(inspection)
    return {
        "store": str(store.path.resolve()),
        "card": asdict(store.card),
        "card_sha256": store.fingerprint,
        "pixels_intact": inspection.intact,
        "episodes": len(store),
        "steps": sum(each.steps for each in inspection.measures),
        "tasks": {
            row[0]: dict(zip(header[1:], map(int, row[1:]), strict=True)) for row in rows
        },
        "actions": [_plain(asdict(each)) for each in inspection.dimensions],
        "flags": {
            flag.name: {
                "meaning": flag.meaning,
                "episodes": [m.id for m in inspection.measures if flag.holds(m)],
            }
            for flag in FLAGS
        },
        "marks": {
            name: {"verdict": verdict_text(mark), "reason": mark.reason}
            for name, mark in inspection.marks.items()
        },
    }


def _plain(value: Any) -> Any:
    """Return a value without NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_table(path: Path, inspection: Inspection) -> None:
    """Write one row per episode; `verdict` and `reason` hold the mark that counts, to be changed by hand."""
    first = ("id", "task", "outcome", "flags", "verdict", "reason")
    names = [
        *first,
        *(each.name for each in fields(EpisodeMetrics) if each.name not in first),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for each in inspection.measures:
            mark = inspection.marks.get(each.id)
            row = {name: _cell(value) for name, value in vars(each).items()}
            row |= {
                "flags": "; ".join(flag.name for flag in flags_of(each)),
                "verdict": verdict_text(mark),
            }
            writer.writerow(row | {"reason": mark.reason if mark else ""})


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def _page(inspection: Inspection, pages: Sequence[str]) -> str:
    name = inspection.store.card.name
    flagged = [
        inspection.measures[index]
        for index in inspection.ordered()
        if flags_of(inspection.measures[index])
    ]
    rows = [["episode", "task", "steps", "flags", "mark"]]
    rows += [
        [
            each.id,
            each.task,
            str(each.steps),
            details_of(each),
            verdict_text(inspection.marks.get(each.id)),
        ]
        for each in flagged[:ROWS_SHOWN]
    ]
    more = (
        f"<p>… and {len(flagged) - ROWS_SHOWN} more: see episodes.csv.</p>"
        if len(flagged) > ROWS_SHOWN
        else ""
    )
    parts = [
        f"<h1>{escape(name)}</h1>",
        _html_table([], _facts(inspection)),
        "<p>Everything is measured on the store as it was written. Tables for machines: "
        '<a href="episodes.csv">episodes.csv</a>, <a href="inspection.json">inspection.json</a>.</p>',
        "<h2>Episodes</h2>"
        + _picture("episodes.png", "Dashed: where flags begin.")
        + _headed(_task_rows(inspection)[: ROWS_SHOWN + 1]),
        "<h2>Actions</h2>"
        + _picture("actions.png")
        + _headed(_action_rows(inspection.dimensions)),
        f"<p>{ACTIONS_EXPLAINED}</p>",
        "<h2>Worth a look</h2>" + _headed(_flag_rows(inspection)) + _headed(rows) + more,
        "<p>To mark episodes, fill in the column <code>verdict</code> of episodes.csv (good, bad, trim FIRST:LAST, "
        f"clear) and run <code>ptr review {escape(str(inspection.store.path))} --from episodes.csv</code>.</p>",
        "<h2>Contact sheets</h2>" + "".join(_picture(page) for page in pages),
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(name)}</title><style>{STYLE}</style>"
    return f"{head}<body>{''.join(parts)}</body></html>\n"


def _headed(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first row is its header."""
    header, *body = rows
    return _html_table(header, body) if body else "<p>None.</p>"


def _html_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = (
        [f"<tr>{''.join(f'<th>{escape(cell)}' for cell in header)}</tr>"] if header else []
    )
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}' for cell in row)}</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"


def _picture(name: str, caption: str = "") -> str:
    return f'<p><a href="{quote(name)}"><img alt="{escape(name)}" src="{quote(name)}"></a><br>{escape(caption)}</p>'
