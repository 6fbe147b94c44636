"""`ptr inspect`: what a store of episodes holds, and which episodes are worth a look.

Everything is measured on the store as it was written; the marks of `ptr review` are shown
beside it. The measurements are described in episode_metrics.py, motion.py and
frame_scan.py, the flags in flags.py.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shlex
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ptr_common.files import atomic_folder
from ptr_common.text_table import cell, text_table
from ptr_training.data.episode import StoreError
from ptr_training.data.marks import current_marks, read_marks, verdict_text
from ptr_training.data.store import EpisodeStore

from .episode_metrics import EpisodeMetrics, measure
from .films import write_films
from .flags import FLAGS, flags_of, names_of
from .motion import Dimension
from .page import page
from .tables import (
    ACTIONS_EXPLAINED,
    Inspection,
    Table,
    action_table,
    facts,
    flag_table,
    task_table,
)

TASKS_SHOWN = 20
"""Tasks in the terminal; the files have all."""

CELL_SIZE = 80
"""Characters of a cell in the terminal."""

FIRST_COLUMNS = ("id", "task", "outcome", "flags", "verdict", "reason")
"""First columns of `episodes.csv`; the other metrics follow."""


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
    parser.add_argument(
        "--films",
        type=int,
        default=10,
        metavar="N",
        help="films at most, each with a player and the actions under it; 0: none [%(default)s]",
    )
    arguments = parser.parse_args(argv)
    for name in ("sheets", "films"):
        if (value := getattr(arguments, name)) < 0:
            raise StoreError(f"--{name} is {value}; it must be 0 or more")
    out = arguments.out or _beside(arguments.store)
    inspection = inspect_store(arguments.store, out, arguments.sheets, arguments.films)
    print("\n".join(report(inspection)))
    print(f"\npictures and all tables: {out / 'index.html'}")
    table = out / "episodes.csv"
    command = shlex.join(["ptr", "review", str(arguments.store), "--from", str(table)])
    print(
        f"to mark episodes, fill in the column `verdict` of episodes.csv and run: {command}"
    )


def inspect_store(path: Path, out: Path, sheets: int, films: int = 0) -> Inspection:
    """Measure a store and write the result into a new folder.

    Args:
        path: Folder of the store; nothing in it is changed.
        out: Folder to make, outside of the store; it appears only once complete.
        sheets: Contact sheets at most; episodes with most flags come first.
        films: Films at most, in the same order.

    Raises:
        PtrError: If the store or its marks cannot be read, or `out` exists or is inside the
            store.
    """
    if out.resolve().is_relative_to(path.resolve()):
        raise StoreError(
            f"{out} is inside the store {path}, which holds its own files only; "
            "choose another --out"
        )

    if out.exists():  # may hold a table that was filled in by hand
        raise StoreError(f"{out} exists already; choose another --out or remove it first")
    store = EpisodeStore.open(path, reviewed=False)
    marks = current_marks(read_marks(path, store.entries))
    metrics, dimensions, intact = measure(store)
    inspection = Inspection(store, metrics, dimensions, intact, marks)
    from . import plots  # needs Matplotlib, which takes a second to import

    with atomic_folder(out) as folder:
        described = json.dumps(_described(inspection), indent=1)
        (folder / "inspection.json").write_text(described + "\n")
        _write_table(folder / "episodes.csv", inspection)
        plots.draw_actions(folder / "actions.png", store, dimensions)
        plots.draw_episodes(folder / "episodes.png", metrics)
        order = inspection.ordered()
        names = plots.draw_sheets(folder, store, metrics, marks, order, sheets)
        pages = write_films(folder, store, order, films)
        (folder / "index.html").write_text(page(inspection, names, pages), encoding="utf-8")

    return inspection


def _beside(store: Path) -> Path:
    """Return the folder beside a store that is made unless another one is chosen."""
    if store.name in ("", ".."):
        store = store.resolve()
    if not store.name:
        raise StoreError(f"{store} is no episode store; choose the folder of one")
    return store.with_name(f"{store.name}-inspection")


# Terminal
# ---------------------------------------------------------------------------------------


def report(inspection: Inspection) -> list[str]:
    """Return the result of an inspection as texts for a terminal."""
    first, *others = facts(inspection)
    tasks = task_table(inspection)
    texts = [text_table(first, others, align="ll"), "", _table_text(tasks, TASKS_SHOWN)]
    if len(tasks.rows) > TASKS_SHOWN:
        texts.append(f"… and {len(tasks.rows) - TASKS_SHOWN} more tasks")
    actions = _table_text(action_table(inspection.dimensions))
    flags = flag_table(inspection)
    flags_text = _table_text(flags) if flags.rows else "no episode has a flag"
    return [*texts, "", actions, ACTIONS_EXPLAINED, "", flags_text]


def _table_text(table: Table, rows: int | None = None) -> str:
    """Return the first rows of a table as text; None: all rows."""
    shown = []
    for row in table.rows[:rows]:
        shown.append([_cut(cell) for cell in row])
    header = [_cut(cell) for cell in table.header]
    return text_table(header, shown, align=table.align)


def _cut(cell: str) -> str:
    """Return at most `CELL_SIZE` characters of a cell."""
    return cell if len(cell) <= CELL_SIZE else f"{cell[: CELL_SIZE - 1]}…"


# Files
# ---------------------------------------------------------------------------------------


def _described(inspection: Inspection) -> dict[str, Any]:
    """Return the contents of `inspection.json`."""
    store = inspection.store
    flags = {}
    for flag in FLAGS:
        names = inspection.flagged_with(flag)
        flags[flag.name] = {"meaning": flag.meaning, "episodes": names}

    marks = {}
    for name, mark in inspection.marks.items():
        marks[name] = {"verdict": verdict_text(mark), "reason": mark.reason}

    return {
        "store": str(store.path.resolve()),
        "card": asdict(store.info),
        "card_sha256": store.fingerprint,
        "pixels_intact": inspection.intact,
        "episodes": len(store),
        "steps": inspection.steps,
        "tasks": _described_tasks(inspection),
        "actions": [_described_action(dimension) for dimension in inspection.dimensions],
        "flags": flags,
        "marks": marks,
    }


def _described_tasks(inspection: Inspection) -> dict[str, dict[str, int]]:
    """Return the counts of each task by their names."""
    table = task_table(inspection)
    tasks = {}
    for task, *counts in table.rows:
        tasks[task] = dict(zip(table.header[1:], map(int, counts), strict=True))
    return tasks


def _described_action(dimension: Dimension) -> dict[str, Any]:
    """Return a dimension of the action by the names of the file, which keep older ones."""
    described = {}
    for name, value in asdict(dimension).items():
        described["deviation" if name == "scaled_std" else name] = _plain(value)
    return described


def _plain(value: Any) -> Any:
    """Return a value without NaN, which JSON does not have."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_table(path: Path, inspection: Inspection) -> None:
    """Write one row for each episode.

    `verdict` and `reason` hold the mark that counts, to be changed by hand.
    """
    names = list(FIRST_COLUMNS)
    for field in fields(EpisodeMetrics):
        if field.name not in names:
            names.append(field.name)

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for metrics in inspection.metrics:
            mark = inspection.marks.get(metrics.id)
            row = {name: _cell(value) for name, value in vars(metrics).items()}
            row["flags"] = names_of(flags_of(metrics))
            row["verdict"] = verdict_text(mark)
            row["reason"] = mark.reason if mark else ""
            writer.writerow({name: cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    """Return a value for the table: numbers of six digits, nothing for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
