"""`ptr import`: prior data of other formats into an episode store, with an audit and a table; goes on after a stop.

How a record becomes an episode is described in foreign.py, what is peculiar to a format in
its module. A format is a module with two functions, `find` and `read`, and an entry in
`FORMATS`.

What the card of the store says is what the user chose; else what the sources tell, above
all those that were a store before (`ptr convert`); else `USUAL`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cv2
import yaml
from tqdm import tqdm

from ptr_common.errors import PtrError
from ptr_training.data.episode import DatasetInfo, Episode, StoreError
from ptr_training.data.workers import WorkerPool, in_order
from ptr_training.errors import TrainingError

from . import bridge_numpy, bridge_raw, lerobot, rlds
from .base import (
    ImportOptions,
    Record,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    normalise,
    to_episode,
)
from .resumable_writer import ResumableWriter

RECORDS_PER_JOB = 8
"""Records a process is given at a time: few enough to wait in memory, neighbours so that a file is opened once."""

RECORDS_PER_WORKER = 50
"""Processes are started only where each gets this much to do, some seconds: starting one takes a second."""

LINES = 20
"""Tasks and left-out records that the table shows; `audit.json` has all of them."""

Entry = dict[str, Any]
"""What the audit says of one record."""


@dataclass(frozen=True)
class Format:
    """How data are stored, as far as importing goes."""

    find: Callable[[Sequence[Path]], list[Record]]
    """Returns the records at some paths, in an order that depends on nothing but their names."""

    read: Callable[[Record, ImportOptions], SourceEpisode]
    """Returns the episode of a record; raises RecordError if it is damaged, SkipRecord if it is not wanted."""

    card: Callable[[Sequence[Record], ImportOptions], Mapping[str, Any]] = (
        lambda records, options: {}
    )
    """Returns the fields of `DatasetInfo` that the sources tell themselves."""

    options: frozenset[str] = frozenset()
    """Fields of `ImportOptions` that other formats do not have."""


FORMATS = {
    "bridge-numpy": Format(bridge_numpy.find, bridge_numpy.read),
    "bridge-raw": Format(bridge_raw.find, bridge_raw.read),
    "lerobot": Format(
        lerobot.find, lerobot.read, lerobot.card, frozenset({"state", "action"})
    ),
    "rlds": Format(rlds.find, rlds.read),
}

USUAL = DatasetInfo(
    name="",
    camera="over_shoulder",  # as the simulated one, so that stores can be mixed
    camera_width=0,  # of the pictures found
    camera_height=0,
    image_height=128,
    image_width=128,
    command="requested",
)
"""What the card of a store says where neither the user nor the source does."""


@dataclass(frozen=True)
class Request:
    """What is to be imported, and the store to make of it."""

    format: str  # key of FORMATS
    sources: tuple[Path, ...]
    out: Path
    options: ImportOptions = field(default_factory=ImportOptions)
    card: Mapping[str, Any] = field(
        default_factory=dict
    )  # fields of DatasetInfo that the user chose
    limit: int = 0  # episodes; 0: all
    skip_bad: bool = False
    workers: int = 0  # 0 chooses

    def made_of(self, card: DatasetInfo) -> dict[str, Any]:
        """Return everything that decides the contents but for the records themselves."""
        size = [card.image_height, card.image_width]
        made_of = {
            "format": self.format,
            "limit": self.limit,
            "image_size": size,
            "last_n": card.last_n,
        }
        return made_of | asdict(self.options)


def main(argv: list[str]) -> int:
    """Turn data of another format (BridgeData, LeRobot) into an episode store."""
    parser = argparse.ArgumentParser(
        prog="ptr import",
        description="Turn data of another format into an episode store. A run that was stopped goes on where it "
        "was when the same command is given again. What is done to the data is described in foreign.py. A data set "
        "of `ptr convert` becomes the store it was, but for what is chosen otherwise.",
    )
    parser.add_argument("format", choices=sorted(FORMATS), help="how the data are stored")
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE", help="file, or folder to search"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="STORE", help="folder to make"
    )
    _add_content_options(parser)
    _add_card_options(parser)
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="import the first N episodes only"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave damaged records out instead of stopping at one",
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes [as many as are worth it]"
    )
    print(table(import_store(_request(parser.parse_args(argv)))))
    return 0


def _add_content_options(parser: argparse.ArgumentParser) -> None:
    defaults = ImportOptions()
    add = parser.add_argument
    add(
        "--camera",
        default="",
        help="number, name or topic [the one over the shoulder; of lerobot the only one]",
    )
    add(
        "--task-from",
        choices=("folder", "language"),
        default=defaults.task_from,
        help="names a task [%(default)s]",
    )
    add(
        "--task-map",
        type=Path,
        metavar="FILE",
        help="YAML of task names and what to call them instead",
    )
    for name, what in (
        ("include", "only paths that hold"),
        ("exclude", "no path that holds"),
    ):
        add(
            f"--{name}",
            nargs="+",
            action="extend",
            default=[],
            metavar="TEXT",
            help=f"{what} one of these",
        )
    outcomes = ("success", "failure", "stop")
    add(
        "--outcome",
        choices=outcomes,
        default=defaults.outcome,
        help="where the source tells none [%(default)s]",
    )
    add(
        "--drop-zero-first",
        action="store_true",
        help="drop the first step if its motion is zero",
    )
    add("--binarize-gripper", action="store_true", help="open or closed, nothing between")
    for name in ("state", "action"):
        add(
            f"--{name}",
            default="",
            metavar="A,B,…",
            help=f"of lerobot: names or indices of the seven of the {name}",
        )


def _add_card_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--image-size",
        type=int,
        metavar="N",
        help=f"height and width of the stored images [{USUAL.image_height}]",
    )
    add(
        "--camera-name",
        metavar="NAME",
        help=f"in the store [{USUAL.camera}; of lerobot as there]",
    )
    add(
        "--command",
        choices=("requested", "executed"),
        help=f"which is learnt from [{USUAL.command}]",
    )
    add("--licence", metavar="TEXT", help=f"of the data [{USUAL.licence}]")


def _request(arguments: argparse.Namespace) -> Request:
    """Return what a command line asks for; raises PtrError if that cannot be."""
    if arguments.limit < 0 or arguments.workers < 0:
        raise PtrError(
            f"--limit and --workers must be >= 0; found {arguments.limit} and {arguments.workers}"
        )
    values = vars(arguments)
    for only, name in (
        (only, name) for only, each in FORMATS.items() for name in sorted(each.options)
    ):
        if values[name] and name not in FORMATS[arguments.format].options:
            raise PtrError(
                f"--{name} is an option of {only}, {arguments.format} has none such; leave it out"
            )
    content = {each.name: values[each.name] for each in fields(ImportOptions)}
    content["task_map"] = load_task_map(arguments.task_map) if arguments.task_map else {}
    content |= {name: tuple(content[name]) for name in ("include", "exclude")}
    content |= {
        name: tuple(filter(None, content[name].split(","))) for name in ("state", "action")
    }
    card = {
        "camera": arguments.camera_name,
        "command": arguments.command,
        "licence": arguments.licence,
    }
    card |= dict.fromkeys(("image_height", "image_width"), arguments.image_size)
    return Request(
        format=arguments.format,
        sources=tuple(arguments.sources),
        out=arguments.out,
        options=ImportOptions(**content),
        card={name: value for name, value in card.items() if value is not None},
        limit=arguments.limit,
        skip_bad=arguments.skip_bad,
        workers=arguments.workers,
    )


def load_task_map(file: Path) -> dict[str, str]:
    """Return task names and what to call them instead, both normalised; raises TrainingError if it is no such table."""
    try:
        names = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError as error:
        raise TrainingError(f"{file} cannot be read: {error}") from error
    if not isinstance(names, dict) or not all(
        isinstance(each, str) for pair in names.items() for each in pair
    ):
        raise TrainingError(
            f"{file} must hold a table of task names (old name: new name), all of them text"
        )
    return {normalise(old): normalise(new) for old, new in names.items()}


def import_store(request: Request) -> dict[str, Any]:
    """Write a new store of prior data.

    Equal sources give equal bytes, whatever the number of workers and however often the
    import was stopped.

    Returns:
        The audit, as in `audit.json`.

    Raises:
        PtrError: If there is nothing to import, a record is damaged, or the store exists.
    """
    found = {path: FORMATS[request.format].find([path]) for path in request.sources}
    records = [record for each in found.values() for record in each]
    card = _card(request, records)
    with ResumableWriter(request.out, card, request.made_of(card)) as writer:
        ledger = _Ledger(request, records, writer)
        left = records[len(writer.kept) :]
        with contextlib.closing(_read_all(left, request, card, ledger)) as results:
            for (entry, episode), record in zip(
                results, left, strict=False
            ):  # fewer results where --limit is reached
                if ledger.is_used(record, entry) and episode is not None:
                    writer.add(episode)
                writer.keep(entry)
        audit = request.made_of(card) | _audit(writer.kept, len(records))
        if not card.camera_width:
            card = replace(
                card, camera_height=ledger.picture[0], camera_width=ledger.picture[1]
            )
        writer.card = replace(card, sources=(*card.sources, *_sources(found, writer.kept)))
        (writer.folder / "audit.json").write_text(json.dumps(audit, indent=1) + "\n")
    return audit


def _card(request: Request, records: Sequence[Record]) -> DatasetInfo:
    """Return the card of the store, as far as it is known before it is made."""
    told = FORMATS[request.format].card(records, request.options)
    card = replace(USUAL, **{**told, **request.card, "name": request.out.name})
    height, width = card.image_height, card.image_width
    if not all(isinstance(size, int) and 8 <= size <= 1024 for size in (height, width)):
        raise PtrError(
            f"stored images of {width}x{height} pixels; allowed are 8 to 1024 each way, see --image-size"
        )
    return card


class _Ledger:
    """Judges the records one after the other; what it remembers follows from their entries alone."""

    def __init__(
        self, request: Request, records: Sequence[Record], writer: ResumableWriter
    ) -> None:
        self.picture: list[int] = []  # height and width, of all
        self.used = 0
        self._skip_bad = request.skip_bad
        self._content: dict[str, str] = {}  # SHA-256 of what was used, by name
        for number, entry in enumerate(writer.kept):
            now = (
                _named(records[number].label, records[number].size)
                if number < len(records)
                else "missing"
            )
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
        if entry["fate"] == RecordStatus.USED.value:
            self._compare(entry)
        if entry["fate"] == RecordStatus.BAD.value and not self._skip_bad:
            raise TrainingError(
                f"{record.path}: record {record.number}: {entry['reason']}; --skip-bad leaves damaged records out"
            )
        if entry["fate"] != RecordStatus.USED.value:
            return False
        self.picture = entry["picture"]
        self._content[entry["id"]] = entry["sha256"]
        self.used += 1
        return True

    def _compare(self, entry: Entry) -> None:
        """Change the fate of a record that repeats or does not suit those before."""
        content = self._content.get(entry["id"])
        if content == entry["sha256"]:
            entry["fate"] = RecordStatus.DUPLICATE.value
        elif content is not None:
            entry.update(
                fate=RecordStatus.BAD.value,
                reason=f"another record is {entry['id']} too, with other content",
            )
        elif self.picture and self.picture != entry["picture"]:
            height, width = entry["picture"]
            reason = f"its pictures have {width}x{height} pixels, those before {self.picture[1]}x{self.picture[0]}"
            entry.update(
                fate=RecordStatus.BAD.value,
                reason=f"{reason}; import them into stores of their own",
            )


def _read_all(
    records: Sequence[Record], request: Request, card: DatasetInfo, ledger: _Ledger
) -> Generator[tuple[Entry, Episode | None], None, None]:
    """Yield what becomes of each record, in their order, until enough are used, with a progress bar."""
    jobs = [
        records[start : start + RECORDS_PER_JOB]
        for start in range(0, len(records), RECORDS_PER_JOB)
    ]
    size = (card.image_height, card.image_width)
    read = functools.partial(
        _read_records, format_name=request.format, options=request.options, size=size
    )
    workers = request.workers or max(
        1, min(len(os.sched_getaffinity(0)), len(records) // RECORDS_PER_WORKER)
    )
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
    records: Sequence[Record],
    format_name: str,
    options: ImportOptions,
    size: tuple[int, int],
) -> list[tuple[Entry, Episode | None]]:
    return [_read_record(record, FORMATS[format_name], options, size) for record in records]


def _read_record(
    record: Record, form: Format, options: ImportOptions, size: tuple[int, int]
) -> tuple[Entry, Episode | None]:
    """Return what the audit says of a record, and its episode unless it is damaged or left out."""
    entry: Entry = {"record": record.label, "bytes": record.size}
    try:
        episode, described = to_episode(form.read(record, options), options, size)
    except SkipRecord as reason:
        return entry | {"fate": reason.fate.value} | (
            {"reason": str(reason)} if str(reason) else {}
        ), None
    except RecordError as error:
        return entry | {"fate": RecordStatus.BAD.value, "reason": str(error)}, None
    return entry | {"fate": RecordStatus.USED.value} | described, episode


def _named(label: str, size: int) -> str:
    return f"{label} ({size} bytes)" if size else label


def _audit(entries: Sequence[Entry], total: int) -> dict[str, Any]:
    """Return what became of the records; raises TrainingError if nothing was used."""
    fates = Counter(entry["fate"] for entry in entries)
    if total > len(entries):
        fates[RecordStatus.OVER_LIMIT.value] = total - len(entries)
    used = [entry for entry in entries if entry["fate"] == RecordStatus.USED.value]
    if not used:
        raise TrainingError(
            f"nothing to import: of {total} records, {_counted(fates)}; change the options or the sources"
        )
    notes = Counter(note for entry in used for note in entry["notes"])
    return {
        "total": total,
        "fates": dict(fates.most_common()),
        "notes": dict(notes.most_common()),
        "steps": sum(entry["steps"] for entry in used),
        "clipped": sum(entry["clipped"] for entry in used),
        "records": list(entries),
    }


def _sources(
    found: Mapping[Path, Sequence[Record]], entries: Sequence[Entry]
) -> tuple[dict[str, Any], ...]:
    """Return for each source its name and the SHA-256 over those of its records that were used, in their order."""
    sources, start = [], 0
    for path, records in found.items():
        used = [
            each
            for each in entries[start : start + len(records)]
            if each["fate"] == RecordStatus.USED.value
        ]
        digest = hashlib.sha256(
            "".join(each["sha256"] for each in used).encode()
        ).hexdigest()
        parts = path.resolve().parts[-2:]
        name = (
            parts[-1] if any(map(str.isalpha, parts[-1])) else "/".join(parts)
        )  # bridge_dataset/1.0.0
        sources.append({"name": name, "sha256": digest, "episodes": len(used)})
        start += len(records)
    return tuple(sources)


def table(audit: Mapping[str, Any]) -> str:
    """Return what was imported and what was left out, for the terminal."""
    used = [entry for entry in audit["records"] if entry["fate"] == RecordStatus.USED.value]
    episodes, steps = Counter(entry["task"] for entry in used), Counter[str]()
    for entry in used:
        steps[entry["task"]] += entry["steps"]
    lines = [f"{'episodes':>9} {'steps':>8}  task"]
    lines += [
        f"{number:>9} {steps[task]:>8}  {task}"
        for task, number in episodes.most_common(LINES)
    ]
    lines += [f"… and {len(episodes) - LINES} more tasks"] * (len(episodes) > LINES)
    lines.append(
        f"{len(used):>9} {audit['steps']:>8}  in all, {audit['clipped']} steps clipped to the action's bounds"
    )
    lines.append(f"\n{audit['total']} records: {_counted(audit['fates'])}")
    lines += [f"{number:>9}  {note}" for note, number in audit["notes"].items()]
    reasons = [
        f"{each['record']} is {each['fate']}: {each['reason']}"
        for each in audit["records"]
        if "reason" in each
    ]
    lines += reasons[:LINES] + [f"… and {len(reasons) - LINES} more, see audit.json"] * (
        len(reasons) > LINES
    )
    return "\n".join(lines + _hints(audit, used))


def _hints(audit: Mapping[str, Any], used: Iterable[Entry]) -> list[str]:
    """Return what may not be as it was meant."""
    instructions: dict[str, set[str]] = defaultdict(set)
    for entry in used:
        instructions[normalise(entry["named"])].update(
            normalise(each) for each in entry["language"][:1]
        )
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
