"""`ptr import`: prior data of other formats into an episode store, with an audit and a table; goes on after a stop.

How a record becomes an episode is described in foreign.py, what is peculiar to a format in its module. A format is a
module with two functions, `find` and `read`, and an entry in `FORMATS`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import yaml
from tqdm import tqdm

from ptr_policy_node.spec import PtrError

from . import bridge_numpy, bridge_raw, rlds
from .episodes import Card, Episode, StoreError, TrainingError
from .foreign import (
    FIXED_CAMERA,
    Fate,
    ForeignEpisode,
    ImportOptions,
    LeftOut,
    Record,
    RecordError,
    normalise,
    to_episode,
)
from .resuming import ResumableWriter
from .workers import WorkerPool, in_order

RECORDS_PER_JOB = 8
"""Records a process is given at a time: few enough to wait in memory, neighbours so that a file is opened once."""

RECORDS_PER_WORKER = 50
"""Processes are started only where each gets this much to do, some seconds: starting one takes a second."""

LINES = 20
"""Tasks and left-out records that the table shows; `audit.json` has all of them."""

Entry = dict[str, Any]
"""What the audit says of one record."""


class Importer(Protocol):
    """What the module of a format offers."""

    def find(self, paths: Sequence[Path]) -> list[Record]:
        """Return the records at some paths, in an order that depends on nothing but their names."""

    def read(self, record: Record, options: ImportOptions) -> ForeignEpisode:
        """Return the episode of a record; raises RecordError if it is damaged, LeftOut if it is not wanted."""


FORMATS: dict[str, Importer] = {"bridge-numpy": bridge_numpy, "bridge-raw": bridge_raw, "rlds": rlds}


@dataclass(frozen=True)
class Request:
    """What is to be imported, and the store to make of it."""

    format: str  # key of FORMATS
    sources: tuple[Path, ...]
    out: Path
    options: ImportOptions = field(default_factory=ImportOptions)
    camera_name: str = "over_shoulder"  # as the simulated one, so that stores can be mixed
    command: str = "requested"
    licence: str = "unspecified"
    limit: int = 0  # episodes; 0: all
    skip_bad: bool = False
    workers: int = 0  # 0 chooses

    def made_of(self) -> dict[str, Any]:
        """Return everything that decides the contents but for the records themselves."""
        return {"format": self.format, "limit": self.limit, **asdict(self.options)}


def main(argv: list[str]) -> int:
    """Turn prior data of another format (BridgeData) into an episode store."""
    parser = argparse.ArgumentParser(
        prog="ptr import",
        description="Turn prior data of another format into an episode store. A run that was stopped goes on where it "
        "was when the same command is given again. What is done to the data is described in foreign.py.",
    )
    parser.add_argument("format", choices=sorted(FORMATS), help="how the data are stored")
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="file, or folder to search")
    parser.add_argument("--out", required=True, type=Path, metavar="STORE", help="folder to make")
    _add_content_options(parser)
    _add_store_options(parser)
    arguments = parser.parse_args(argv)
    if not 8 <= arguments.image_size <= 1024:
        raise PtrError(f"--image-size is {arguments.image_size}; allowed are 8 to 1024 pixels")
    if arguments.limit < 0 or arguments.workers < 0:
        raise PtrError(f"--limit and --workers must be >= 0; found {arguments.limit} and {arguments.workers}")
    content = {name: getattr(arguments, name) for name in ImportOptions.__dataclass_fields__}
    content["task_map"] = load_task_map(arguments.task_map) if arguments.task_map else {}
    content |= {name: tuple(content[name]) for name in ("include", "exclude")}
    store = {name: getattr(arguments, name) for name in Request.__dataclass_fields__ if name != "options"}
    request = Request(**store | {"sources": tuple(arguments.sources), "options": ImportOptions(**content)})
    print(table(import_store(request)))
    return 0


def _add_content_options(parser: argparse.ArgumentParser) -> None:
    defaults = ImportOptions()
    parser.add_argument(
        "--image-size",
        type=int,
        default=defaults.image_size,
        help="height and width of the stored images [%(default)s]",
    )
    parser.add_argument(
        "--camera",
        default=FIXED_CAMERA,
        help="number; of bridge-raw also a topic or 'wrist' [%(default)s: the one over the shoulder]",
    )
    parser.add_argument(
        "--task-from",
        choices=("folder", "language"),
        default=defaults.task_from,
        help="what names a task [%(default)s]",
    )
    parser.add_argument(
        "--task-map", type=Path, metavar="FILE", help="YAML of task names and what to call them instead"
    )
    parser.add_argument(
        "--include", nargs="+", action="extend", default=[], metavar="TEXT", help="only paths that hold one of these"
    )
    parser.add_argument(
        "--exclude", nargs="+", action="extend", default=[], metavar="TEXT", help="no path that holds one of these"
    )
    parser.add_argument(
        "--outcome",
        choices=("success", "failure", "stop"),
        default=defaults.outcome,
        help="how all ended [%(default)s]",
    )
    parser.add_argument("--drop-zero-first", action="store_true", help="drop the first step if its motion is zero")
    parser.add_argument("--binarize-gripper", action="store_true", help="open or closed, nothing between")


def _add_store_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--camera-name",
        default=Request.camera_name,
        metavar="NAME",
        help="what the store calls the camera [%(default)s]",
    )
    parser.add_argument(
        "--command",
        choices=("requested", "executed"),
        default=Request.command,
        help="which is learnt from [%(default)s]",
    )
    parser.add_argument("--licence", default=Request.licence, metavar="TEXT", help="of the data [%(default)s]")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="import the first N episodes only")
    parser.add_argument("--skip-bad", action="store_true", help="leave damaged records out instead of stopping at one")
    parser.add_argument("--workers", type=int, default=0, help="processes [as many as are worth it]")


def load_task_map(file: Path) -> dict[str, str]:
    """Return task names and what to call them instead, both normalised; raises TrainingError if it is no such table."""
    try:
        names = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError as error:
        raise TrainingError(f"{file} cannot be read: {error}") from error
    if not isinstance(names, dict) or not all(isinstance(each, str) for pair in names.items() for each in pair):
        raise TrainingError(f"{file} must hold a table of task names (old name: new name), all of them text")
    return {normalise(old): normalise(new) for old, new in names.items()}


def import_store(request: Request) -> dict[str, Any]:
    """Write a new store of prior data.

    Equal sources give equal bytes, whatever the number of workers and however often the import was stopped.

    Returns:
        The audit, as in `audit.json`.

    Raises:
        PtrError: If there is nothing to import, a record is damaged, or the store exists.
    """
    found = {path: FORMATS[request.format].find([path]) for path in request.sources}
    records = [record for each in found.values() for record in each]
    size = request.options.image_size
    card = Card(request.out.name, request.camera_name, 0, 0, size, size, request.licence, request.command)
    with ResumableWriter(request.out, card, request.made_of()) as writer:
        ledger = _Ledger(request, records, writer)
        left = records[len(writer.kept) :]
        with contextlib.closing(_read_all(left, request, ledger)) as results:
            for (entry, episode), record in zip(results, left, strict=False):  # fewer results where --limit is reached
                if ledger.is_used(record, entry) and episode is not None:
                    writer.add(episode)
                writer.keep(entry)
        audit = _audit(request, writer.kept, len(records))
        height, width = ledger.picture
        writer.card = replace(card, camera_height=height, camera_width=width, sources=_sources(found, writer.kept))
        (writer.folder / "audit.json").write_text(json.dumps(audit, indent=1) + "\n")
    return audit


class _Ledger:
    """Judges the records one after the other; what it remembers follows from their entries alone."""

    def __init__(self, request: Request, records: Sequence[Record], writer: ResumableWriter) -> None:
        self.picture: list[int] = []  # height and width, of all
        self.used = 0
        self._skip_bad = request.skip_bad
        self._content: dict[str, str] = {}  # SHA-256 of what was used, by name
        for number, entry in enumerate(writer.kept):
            now = _named(records[number].label, records[number].size) if number < len(records) else "missing"
            if now != (was := _named(entry["record"], entry["bytes"])):
                raise StoreError(
                    f"{writer.partial} was begun with record {number} being {was}, now it is {now}; "
                    "restore the sources to go on, or remove that folder to start over"
                )
            self.is_used(records[number], entry)

    def is_used(self, record: Record, entry: Entry) -> bool:
        """Return whether a record becomes part of the store; if it does not, its entry says why.

        Raises:
            TrainingError: If it is bad and bad ones are not to be skipped.
        """
        if entry["fate"] == Fate.USED.value:
            self._compare(entry)
        if entry["fate"] == Fate.BAD.value and not self._skip_bad:
            raise TrainingError(
                f"{record.path}: record {record.number}: {entry['reason']}; --skip-bad leaves damaged records out"
            )
        if entry["fate"] != Fate.USED.value:
            return False
        self.picture = entry["picture"]
        self._content[entry["id"]] = entry["sha256"]
        self.used += 1
        return True

    def _compare(self, entry: Entry) -> None:
        """Change the fate of a record that repeats or does not suit those before."""
        content = self._content.get(entry["id"])
        if content == entry["sha256"]:
            entry["fate"] = Fate.DUPLICATE.value
        elif content is not None:
            entry.update(fate=Fate.BAD.value, reason=f"another record is {entry['id']} too, with other content")
        elif self.picture and self.picture != entry["picture"]:
            height, width = entry["picture"]
            reason = f"its pictures have {width}x{height} pixels, those before {self.picture[1]}x{self.picture[0]}"
            entry.update(fate=Fate.BAD.value, reason=f"{reason}; import them into stores of their own")


def _read_all(
    records: Sequence[Record], request: Request, ledger: _Ledger
) -> Generator[tuple[Entry, Episode | None], None, None]:
    """Yield what becomes of each record, in their order, until enough are used, with a progress bar."""
    jobs = [records[start : start + RECORDS_PER_JOB] for start in range(0, len(records), RECORDS_PER_JOB)]
    read = functools.partial(_read_records, format_name=request.format, options=request.options)
    workers = request.workers or max(1, min(len(os.sched_getaffinity(0)), len(records) // RECORDS_PER_WORKER))
    cv2.setNumThreads(1)  # whole pictures are what is done in parallel
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(records), unit="record", desc="import"))
        results: Iterable[list[tuple[Entry, Episode | None]]]
        if workers > 1:
            pool = WorkerPool(workers, cv2.setNumThreads, 1)
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            results = in_order(pool, read, jobs, ahead=2 * workers)
        else:
            results = map(read, jobs)
        for result in (each for several in results for each in several):
            if request.limit and ledger.used >= request.limit:
                return
            yield result
            bar.set_postfix(used=ledger.used, refresh=False)
            bar.update()


def _read_records(
    records: Sequence[Record], format_name: str, options: ImportOptions
) -> list[tuple[Entry, Episode | None]]:
    return [_read_record(record, FORMATS[format_name], options) for record in records]


def _read_record(record: Record, importer: Importer, options: ImportOptions) -> tuple[Entry, Episode | None]:
    """Return what the audit says of a record, and its episode unless it is damaged or left out."""
    entry: Entry = {"record": record.label, "bytes": record.size}
    try:
        episode, described = to_episode(importer.read(record, options), options)
    except LeftOut as reason:
        return entry | {"fate": reason.fate.value} | ({"reason": str(reason)} if str(reason) else {}), None
    except RecordError as error:
        return entry | {"fate": Fate.BAD.value, "reason": str(error)}, None
    return entry | {"fate": Fate.USED.value} | described, episode


def _named(label: str, size: int) -> str:
    return f"{label} ({size} bytes)" if size else label


def _audit(request: Request, entries: Sequence[Entry], total: int) -> dict[str, Any]:
    """Return the audit of a store; raises TrainingError if nothing was used."""
    fates = Counter(entry["fate"] for entry in entries)
    if total > len(entries):
        fates[Fate.OVER_LIMIT.value] = total - len(entries)
    used = [entry for entry in entries if entry["fate"] == Fate.USED.value]
    if not used:
        raise TrainingError(
            f"nothing to import: of {total} records, {_counted(fates)}; change the options or the sources"
        )
    notes = Counter(note for entry in used for note in entry["notes"])
    return {
        **request.made_of(),
        "total": total,
        "fates": dict(fates.most_common()),
        "notes": dict(notes.most_common()),
        "steps": sum(entry["steps"] for entry in used),
        "clipped": sum(entry["clipped"] for entry in used),
        "records": list(entries),
    }


def _sources(found: Mapping[Path, Sequence[Record]], entries: Sequence[Entry]) -> tuple[dict[str, Any], ...]:
    """Return for each source its name and the SHA-256 over those of its records that were used, in their order."""
    sources, start = [], 0
    for path, records in found.items():
        used = [each for each in entries[start : start + len(records)] if each["fate"] == Fate.USED.value]
        digest = hashlib.sha256("".join(each["sha256"] for each in used).encode()).hexdigest()
        parts = path.resolve().parts[-2:]
        name = parts[-1] if any(map(str.isalpha, parts[-1])) else "/".join(parts)  # bridge_dataset/1.0.0
        sources.append({"name": name, "sha256": digest, "episodes": len(used)})
        start += len(records)
    return tuple(sources)


def table(audit: Mapping[str, Any]) -> str:
    """Return what was imported and what was left out, for the terminal."""
    used = [entry for entry in audit["records"] if entry["fate"] == Fate.USED.value]
    episodes, steps = Counter(entry["task"] for entry in used), Counter[str]()
    for entry in used:
        steps[entry["task"]] += entry["steps"]
    lines = [f"{'episodes':>9} {'steps':>8}  task"]
    lines += [f"{number:>9} {steps[task]:>8}  {task}" for task, number in episodes.most_common(LINES)]
    lines += [f"… and {len(episodes) - LINES} more tasks"] * (len(episodes) > LINES)
    lines.append(f"{len(used):>9} {audit['steps']:>8}  in all, {audit['clipped']} steps clipped to the action's bounds")
    lines.append(f"\n{audit['total']} records: {_counted(audit['fates'])}")
    lines += [f"{number:>9}  {note}" for note, number in audit["notes"].items()]
    reasons = [f"{each['record']} is {each['fate']}: {each['reason']}" for each in audit["records"] if "reason" in each]
    lines += reasons[:LINES] + [f"… and {len(reasons) - LINES} more, see audit.json"] * (len(reasons) > LINES)
    return "\n".join(lines + _hints(audit, used))


def _hints(audit: Mapping[str, Any], used: Iterable[Entry]) -> list[str]:
    """Return what may not be as it was meant."""
    instructions: dict[str, set[str]] = defaultdict(set)
    for entry in used:
        instructions[entry["named"]].update(normalise(each) for each in entry["language"][:1])
    hints = []
    if cut_off := audit["notes"].get(rlds.CUT_OFF):
        hints.append(
            f"{cut_off} episodes may have been cut off before their end; as {audit['outcome']} "
            "their last steps are labelled all the same (see --outcome)"
        )
    several = {task: len(each) for task, each in instructions.items() if len(each) > 1}
    if several and audit["task_from"] == "folder":
        most = max(several, key=lambda task: several[task])
        hints.append(
            f"{len(several)} of the tasks have several instructions ({most!r}: {several[most]}): "
            "--task-from language tells them apart"
        )
    if unknown := sorted(audit["task_map"].keys() - instructions.keys()):
        hints.append(f"names of --task-map that no task has: {', '.join(unknown)}")
    return hints


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items())
