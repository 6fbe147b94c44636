"""`ptr import`: prior data of other formats into an episode store, with an audit.

What happens to the data of an episode is described in to_episode.py, the particularities
of a format in its module, and how an import goes on after a stop in resumable_writer.py.

The metadata of the store (`card.yaml`) are what the user chose; where the user chose
nothing, what the sources contain (a data set of `ptr convert` does); else `DEFAULT_INFO`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ptr_common.documents import read_yaml
from ptr_common.errors import PtrError
from ptr_training.data.episode import DatasetInfo
from ptr_training.errors import TrainingError

from .audit import Ledger, audit_text, source_digests, summarise
from .base import ImportOptions, Record, normalise_name
from .formats import FORMATS, RecordReader
from .resumable_writer import ResumableWriter

IMAGE_SIZES = (8, 1024)
"""Smallest and largest height and width of stored images [pixels]."""

OUTCOMES = ("success", "failure", "stop")

DEFAULT_INFO = DatasetInfo(
    name="",
    camera="over_shoulder",  # as the simulated one, so that stores can be mixed
    camera_width=0,  # becomes that of the images
    camera_height=0,
    image_height=128,
    image_width=128,
    command="requested",
)
"""Metadata of an imported store, where neither the user nor the source has any."""


@dataclass(frozen=True)
class Request:
    """What is to be imported, and the store to make of it."""

    format: str  # key of FORMATS
    sources: tuple[Path, ...]
    out: Path
    options: ImportOptions = field(default_factory=ImportOptions)
    info: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `DatasetInfo` that the user chose."""
    limit: int = 0  # episodes; 0: all
    skip_bad: bool = False
    workers: int = 0  # processes; 0: as many as pay off

    def origin(self, info: DatasetInfo) -> dict[str, Any]:
        """Return everything that decides the contents of the store, except the records."""
        return {
            "format": self.format,
            "limit": self.limit,
            "image_size": [info.image_height, info.image_width],
            "last_n": info.last_n,
            **asdict(self.options),
        }


# Command line
# ---------------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """Turn data of another format (BridgeData, LeRobot) into an episode store."""
    print(audit_text(import_store(_request(_parser().parse_args(argv)))))
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="ptr import",
        description="Turn data of another format into an episode store. A run that was "
        "stopped goes on when the same command is given again. A data set of `ptr convert` "
        "becomes the store it was made of, except for what is chosen otherwise.",
    )
    parser.add_argument("format", choices=sorted(FORMATS), help="format of the data")
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE", help="file, or folder to search"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="STORE", help="folder to make (required)"
    )
    _add_task_options(parser)
    _add_data_options(parser)
    _add_info_options(parser)
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="import the first N episodes only; 0 imports all [%(default)s]",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave damaged records out [the import stops at the first one]",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes; 0 starts as many as pay off [%(default)s]",
    )
    return parser


def _add_task_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose and name tasks."""
    defaults = ImportOptions()
    parser.add_argument(
        "--task-from",
        choices=("folder", "language"),
        default=defaults.task_from,
        help="what names a task [%(default)s]",
    )
    parser.add_argument(
        "--task-map",
        type=Path,
        metavar="FILE",
        help="YAML table of task names and their new names [names stay]",
    )
    parser.add_argument(
        "--include",
        nargs="+",
        action="extend",
        default=[],
        metavar="TEXT",
        help="import only paths that contain one of these [all paths]",
    )
    parser.add_argument(
        "--exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="TEXT",
        help="import no path that contains one of these [none excluded]",
    )


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose which data of an episode are taken, and how."""
    parser.add_argument(
        "--camera",
        default="",
        help="number, name or topic of the camera in the source "
        "[the one over the shoulder; of lerobot the only one]",
    )
    parser.add_argument(
        "--outcome",
        choices=OUTCOMES,
        default=ImportOptions().outcome,
        help="outcome of episodes whose source contains none [%(default)s]",
    )
    parser.add_argument(
        "--drop-zero-first",
        action="store_true",
        help="drop the first step if its motion is zero [it stays]",
    )
    parser.add_argument(
        "--binarize-gripper",
        action="store_true",
        help="gripper commands of 0 and 1 only [as in the source]",
    )
    parser.add_argument(
        "--gripper-range",
        nargs=2,
        type=float,
        default=ImportOptions().gripper_range,
        metavar=("CLOSED", "OPEN"),
        help="the gripper's commands in the source [0 1]",
    )
    parser.add_argument(
        "--degrees",
        action="store_true",
        help="the source has the rotations of actions in degrees [in radians]",
    )
    for name in ("state", "action"):
        parser.add_argument(
            f"--{name}",
            default="",
            metavar="A,B,…",
            help=f"of lerobot: names or indices of the seven dimensions of the {name} "
            "[found by their names]",
        )


def _add_info_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the metadata of the store."""
    smallest, largest = IMAGE_SIZES
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help=f"height and width of the stored images, {smallest} to {largest} pixels "
        f"[{DEFAULT_INFO.image_height}]",
    )
    parser.add_argument(
        "--camera-name",
        metavar="NAME",
        help=f"name of the camera in the store [{DEFAULT_INFO.camera}; "
        "of lerobot as in the source]",
    )
    parser.add_argument(
        "--command",
        choices=("requested", "executed"),
        help=f"command that agents learn from [{DEFAULT_INFO.command}]",
    )
    parser.add_argument(
        "--licence", metavar="TEXT", help=f"licence of the data [{DEFAULT_INFO.licence}]"
    )


def _request(arguments: argparse.Namespace) -> Request:
    """Return what a command line asks for; raises PtrError if a value is not allowed."""
    if arguments.limit < 0 or arguments.workers < 0:
        raise PtrError(
            "--limit and --workers must be >= 0; "
            f"found {arguments.limit} and {arguments.workers}"
        )

    if not arguments.out.name:
        raise PtrError(f"--out is '{arguments.out}'; it must name a folder to make")

    info = {
        "camera": arguments.camera_name,
        "command": arguments.command,
        "licence": arguments.licence,
        "image_height": arguments.image_size,
        "image_width": arguments.image_size,
    }
    return Request(
        format=arguments.format,
        sources=tuple(arguments.sources),
        out=arguments.out,
        options=_import_options(arguments),
        info={name: value for name, value in info.items() if value is not None},
        limit=arguments.limit,
        skip_bad=arguments.skip_bad,
        workers=arguments.workers,
    )


def _import_options(arguments: argparse.Namespace) -> ImportOptions:
    """Return the options for importers; raises PtrError if a value is not allowed."""
    values = {item.name: getattr(arguments, item.name) for item in fields(ImportOptions)}
    _check_suit_format(arguments.format, values)
    values["task_map"] = load_task_map(arguments.task_map) if arguments.task_map else {}
    for name in ("include", "exclude"):
        values[name] = tuple(values[name])
    for name in ("state", "action"):
        values[name] = tuple(part for part in values[name].split(",") if part)
    closed, opened = values["gripper_range"] = tuple(values["gripper_range"])
    if not 1e-6 < abs(opened - closed) < 1e6:
        raise PtrError(
            f"--gripper-range is {closed:g} {opened:g}; it must be two different numbers"
        )
    return ImportOptions(**values)


def _check_suit_format(chosen: str, values: Mapping[str, Any]) -> None:
    """Refuse an option that only another format has."""
    for format_name, other in FORMATS.items():
        for option in sorted(other.options - FORMATS[chosen].options):
            if values[option]:
                raise PtrError(
                    f"--{option} is an option of {format_name}, {chosen} does not have it; "
                    "leave it out"
                )


def load_task_map(file: Path) -> dict[str, str]:
    """Return a table of task names and their new names, both normalised.

    Raises:
        TrainingError: If the file is not such a table.
    """
    names = read_yaml(file, TrainingError)

    task_map = {}
    for old, new in names.items() if isinstance(names, dict) else [(None, None)]:
        if not (isinstance(old, str) and isinstance(new, str)):
            raise TrainingError(
                f"{file} must hold a table of task names (old name: new name), "
                "all of them text"
            )
        task_map[normalise_name(old)] = normalise_name(new)

    return task_map


# Import
# ---------------------------------------------------------------------------------------


def import_store(request: Request) -> dict[str, Any]:
    """Write a new store of prior data.

    Equal sources give equal bytes, with any number of workers, and also when the import
    was stopped and continued.

    Returns:
        The audit, as in `audit.json`.

    Raises:
        PtrError: If there is nothing to import, a record is damaged, or the store exists.
    """
    by_source = {path: FORMATS[request.format].find([path]) for path in request.sources}
    records: list[Record] = []
    for members in by_source.values():
        records += members

    info = _dataset_info(request, records)
    origin = request.origin(info)
    with ResumableWriter(request.out, info, origin) as writer:
        ledger = Ledger(request.skip_bad)
        ledger.resume(records, writer.kept, writer.partial)
        _read_into(writer, ledger, request, records)
        audit = origin | summarise(writer.kept, len(records))
        if not info.camera_width:
            height, width = ledger.image_size
            info = replace(info, camera_height=height, camera_width=width)
        digests = source_digests(by_source, writer.kept)
        writer.info = replace(info, sources=(*info.sources, *digests))
        (writer.folder / "audit.json").write_text(json.dumps(audit, indent=1) + "\n")

    return audit


def _read_into(
    writer: ResumableWriter, ledger: Ledger, request: Request, records: Sequence[Record]
) -> None:
    """Read the records that an earlier run has not read, until the limit is reached."""
    left = records[len(writer.kept) :]
    size = (writer.info.image_height, writer.info.image_width)
    reader = RecordReader(request.format, request.options, size, request.workers)
    with (
        contextlib.closing(reader.read_all(left)) as results,
        tqdm(total=len(left), unit="record", desc="import") as bar,
    ):
        for record, (entry, episode) in zip(left, results, strict=True):
            if request.limit and ledger.used >= request.limit:
                return
            if ledger.settle(record, entry) and episode is not None:
                writer.add(episode)
            writer.keep(entry)
            bar.set_postfix(used=ledger.used, refresh=False)
            bar.update()


def _dataset_info(request: Request, records: Sequence[Record]) -> DatasetInfo:
    """Return the metadata of the store, as far as they are known before it is made."""
    from_sources = FORMATS[request.format].info(records, request.options)
    chosen = {**from_sources, **request.info, "name": request.out.name}
    info = replace(DEFAULT_INFO, **chosen)
    smallest, largest = IMAGE_SIZES
    for size in (info.image_height, info.image_width):
        if not isinstance(size, int) or not smallest <= size <= largest:
            raise PtrError(
                f"stored images of {info.image_width}x{info.image_height} pixels; allowed "
                f"are {smallest} to {largest} in height and width, see --image-size"
            )
    return info
