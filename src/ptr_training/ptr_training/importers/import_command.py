"""`ptr import` and `ptr merge`: prior data of other formats into an episode store."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ptr_common.arguments import VerbParser
from ptr_common.documents import read_yaml
from ptr_common.errors import PtrError
from ptr_training.errors import TrainingError

from .audit import audit_text
from .base import ImportOptions, normalise_name
from .formats import FORMATS
from .import_store import DEFAULT_INFO, IMAGE_SIZES, Request, import_store
from .shards import Shard, import_shard, merge_shards

OUTCOMES = ("success", "failure", "stop")


def main(argv: list[str]) -> int:
    """Turn data of another format (BridgeData, LeRobot, Lance) into an episode store."""
    arguments = _parser().parse_args(argv)
    request = _request(arguments)
    if arguments.shard is None:
        print(audit_text(import_store(request)))
        return 0
    folder = import_shard(request, arguments.shard)
    print(
        f"{folder}; with all {arguments.shard.count} shards there: ptr merge {request.out}"
    )
    return 0


def merge(argv: list[str]) -> int:
    """Make the store of an import whose shards were read apart (`ptr import --shard`)."""
    parser = VerbParser("merge", merge.__doc__)
    parser.add_argument(
        "store",
        type=Path,
        metavar="STORE",
        help="folder to make; its shards, STORE.shard-I-of-N, lie beside it and stay there",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave damaged records out (default: the first one is an error)",
    )
    arguments = parser.parse_args(argv)
    print(audit_text(merge_shards(arguments.store, skip_bad=arguments.skip_bad)))
    print(f"the shards are not needed any more: rm -r {arguments.store}.shard-*")
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser that also takes options from a file, `@FILE`: several in a line, # for comments."""

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """See `argparse.ArgumentParser`."""
        return shlex.split(arg_line, comments=True)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="ptr import",
        description="Turn data of another format into an episode store. A run that was "
        "stopped goes on when the same command is given again. A data set of `ptr convert` "
        "becomes the store it was made of, except for what is chosen otherwise.",
        epilog="@FILE stands for the options in a file, such as "
        "@config/bridge/scenario1.txt: the data of a scenario of the paper.",
        fromfile_prefix_chars="@",
    )
    parser.add_argument("format", choices=sorted(FORMATS), help="format of the data")
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="file, or folder to search; of lance a table, TABLE.lance or, for an older "
        "version of it, TABLE.lance@VERSION",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="STORE", help="folder to make (required)"
    )
    _add_task_options(parser)
    _add_data_options(parser)
    _add_info_options(parser)
    _add_amount_options(parser)
    return parser


def _add_amount_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of how much is imported, and by how many processes."""
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="import the first N episodes only; 0 imports all [%(default)s]",
    )
    parser.add_argument(
        "--shard",
        type=Shard.parse,
        metavar="I/N",
        help="read only part I of N, I from 0, for `ptr merge`; the parts may be read at the "
        "same time, on any machines that share the folder [all of it, in one piece]",
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
        "[the one over the shoulder; of lerobot and lance the only one]",
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
            help=f"of lerobot and lance: names or indices of the seven dimensions of the "
            f"{name} [found by their names, which lance does not have]",
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
        "of lerobot and lance as in the source]",
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
    owners: dict[str, list[str]] = {}
    for name, other in FORMATS.items():
        for option in sorted(other.options - FORMATS[chosen].options):
            owners.setdefault(option, []).append(name)
    for option, names in owners.items():
        if values[option]:
            raise PtrError(
                f"--{option} is an option of {' and '.join(names)}, {chosen} does not have "
                "it; leave it out"
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
