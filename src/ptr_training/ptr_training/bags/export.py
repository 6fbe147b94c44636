"""`ptr export`: bags into an episode store, in several processes, with an audit and a table."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from ptr_common.errors import PtrError
from ptr_common.stamps import camera_latency
from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter, StoreError
from ptr_training.data.workers import WorkerPool, in_order

from .episodes_from_bag import BagEpisodes, ReadOptions, read_episodes
from .errors import BagError
from .export_table import judged_later, table
from .find import find_bags
from .verdicts import read_verdicts

THREADS = 4
"""Bags read at a time in one process: each holds the interpreter's lock a quarter of the time."""

BYTES_PER_WORKER = 2 << 30
"""Bytes that a process must have to read to be worth its start, which takes a second."""

IMAGE_SIZES = (8, 1024)
"""Smallest and largest height and width of stored images [pixels]."""


def main(argv: list[str]) -> int:
    """Turn recorded bags into an episode store."""
    arguments = _parser().parse_args(argv)
    smallest, largest = IMAGE_SIZES
    if not smallest <= arguments.image_size <= largest:
        raise PtrError(
            f"--image-size is {arguments.image_size}; "
            f"allowed are {smallest} to {largest} pixels"
        )

    if arguments.workers < 0:
        raise PtrError(
            f"--workers is {arguments.workers}; allowed are 0 (as many as are worth it) "
            "and more"
        )

    if arguments.camera_latency is not None:
        camera_latency(arguments.camera_latency)
    options = ReadOptions(
        image_size=arguments.image_size,
        camera=arguments.camera,
        camera_latency=arguments.camera_latency,
        command=arguments.command,
        task=arguments.task,
        outcome=arguments.outcome,
        verdicts=read_verdicts(arguments.verdicts) if arguments.verdicts else {},
        check_crc=arguments.check_crc,
    )
    audits = export(
        find_bags(arguments.bags),
        arguments.out,
        options,
        arguments.workers,
        rename=arguments.rename,
    )
    print(table(audits))
    if options.verdicts and not judged_later(audits):
        print(
            f"note: none of the {len(options.verdicts)} verdicts of {arguments.verdicts} is of an "
            "episode of these bags that lacks one"
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the options of `ptr export`."""
    parser = argparse.ArgumentParser(
        prog="ptr export",
        description="Turn recorded bags into an episode store. docs/design.md and the "
        "docstring of bags/episodes_from_bag.py describe how messages become steps.",
    )
    parser.add_argument(
        "bags", nargs="+", type=Path, metavar="BAG", help="bag, or folder of bags"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="STORE", help="folder to make"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=64,
        help="height and width of the stored images [%(default)s]",
    )
    parser.add_argument(
        "--command",
        choices=("executed", "requested", "states"),
        default="executed",
        help="command that is learnt from; states: none, actions are the steps from each "
        "measured pose to the next, for bags without commands [%(default)s]",
    )
    _add_bag_options(parser)
    parser.add_argument(
        "--check-crc",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="verify the checksums of all chunks [yes]",
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes [as many as are worth it]"
    )
    parser.add_argument(
        "--rename",
        action="store_true",
        help="name episodes BAG/ID, for bags with episodes of equal ids [no]",
    )
    return parser


def _add_bag_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for what bags do not say, or say wrongly."""
    parser.add_argument(
        "--camera",
        default="",
        metavar="NAME",
        help="where a bag holds several, its name or topic, or NAME=TOPIC to name one that has "
        "none [the one that the bag names, or its only one]",
    )
    parser.add_argument(
        "--camera-latency",
        type=float,
        metavar="S",
        help="camera latency [s], in place of what the bags say, see `ptr calibrate camera` "
        "[as the bags say, without it 0]",
    )
    parser.add_argument(
        "--task", default="", help="what was done, for bags that do not say it [none]"
    )
    parser.add_argument(
        "--outcome",
        choices=("success", "failure", "stop"),
        default="",
        help="outcome of bags without the START of an episode, which are then one episode "
        "[success for bags without episode events; others are left out]",
    )
    parser.add_argument(
        "--verdicts",
        type=Path,
        metavar="FILE",
        help="verdicts on episodes whose bags have none: results.csv of an evaluation or a "
        "session, or verdicts.jsonl of `ptr teleop --watch --out` [none]",
    )


def export(
    bags: Sequence[Path],
    out: Path,
    options: ReadOptions,
    workers: int = 0,
    *,
    rename: bool = False,
) -> list[dict[str, Any]]:
    """Write the episodes of some bags into a new store.

    Equal bags in equal order give an equal store, whatever the number of workers.

    Args:
        bags: Recordings, in the order their episodes shall have.
        out: Folder to make; it appears only once complete.
        options: What the bags do not say.
        workers: Processes; 0 chooses.
        rename: Name episodes after their bags as well.

    Returns:
        The audit of each bag, as in `audit.json`.

    Raises:
        PtrError: If a bag cannot be read, the bags do not fit together, or `out` exists.
    """
    if out.exists():
        raise StoreError(f"{out} exists already; choose another folder or remove it first")
    results = _read_all(bags, options, workers or _worthwhile(bags))
    with contextlib.closing(results):
        head = list(_up_to_first_episode(results))
        info = _info_of(head[-1], out.name, options)
        audits = []
        names = _Names(rename)
        with EpisodeWriter(out, info) as writer:
            for bag, result in zip(bags, itertools.chain(head, results), strict=True):
                _check_camera(bag, result, info)
                names.check_copy(bag, result.audit["sha256"])
                for episode in result.episodes:
                    name = names.add(bag, episode)
                    writer.add(replace(episode, id=name))
                    _rename_entry(result.audit, episode.id, name)
                audits.append(result.audit)
            writer.info = replace(info, sources=_sources(audits))
            text = json.dumps({"bags": audits}, indent=1) + "\n"
            (writer.folder / "audit.json").write_text(text)

    return audits


class _Names:
    """The ids of the episodes of several bags, each of them once.

    Args:
        rename: Put the name of the bag before each id.
    """

    def __init__(self, rename: bool) -> None:
        self._rename = rename
        self._bags: dict[str, Path] = {}  # by id
        self._digests: dict[str, Path] = {}

    def check_copy(self, bag: Path, digest: str) -> None:
        """Raise BagError if another bag has the same contents."""
        other = self._digests.setdefault(digest, bag)
        if other is not bag:
            raise BagError(f"{bag} has the same contents as {other}; export one of them")

    def add(self, bag: Path, episode: Episode) -> str:
        """Return the id of an episode in the store.

        Raises:
            BagError: If another episode has it.
        """
        name = episode.id
        if self._rename:
            name = unnumbered = f"{episode.source}/{episode.id}"
            number = 1
            while name in self._bags:
                number += 1
                name = f"{unnumbered}-{number}"
        if name in self._bags:
            other = self._bags[name]
            both = f"{other} and in {bag}" if other != bag else f"{bag} twice"
            raise BagError(
                f"episode id {name!r} is in {both}; --rename names episodes BAG/ID, or "
                "export only one of them"
            )
        self._bags[name] = bag
        return name


def _rename_entry(audit: dict[str, Any], old: str, new: str) -> None:
    """Give an episode its new id in the audit of its bag."""
    for entry in audit["episodes"]:
        if entry["id"] == old and entry["steps"]:
            entry["id"] = new
            return


def _info_of(first: BagEpisodes, name: str, options: ReadOptions) -> DatasetInfo:
    """Return the description of a store, from the first bag that holds an episode."""
    width, height = first.camera_size
    return DatasetInfo(
        name=name,
        camera=first.camera,
        camera_width=width,
        camera_height=height,
        image_height=options.image_size,
        image_width=options.image_size,
        command="executed" if options.command == "states" else options.command,
    )


def _sources(audits: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the lines of card.yaml about the bags."""
    sources = []
    for audit in audits:
        names = ("name", "sha256", "camera_latency", "actions")
        sources.append({name: audit[name] for name in names if name in audit})
    return tuple(sources)


def _up_to_first_episode(results: Iterable[BagEpisodes]) -> Iterator[BagEpisodes]:
    """Yield the results up to the first one with an episode.

    Raises:
        StoreError: If none has one, with the reasons.
    """
    reasons = set()
    for result in results:
        yield result
        if result.episodes:
            return
        for entry in [result.audit, *result.audit["episodes"]]:
            if "refused" in entry:
                reasons.add(entry["refused"])
    raise StoreError(
        "no bag holds an episode that can be used: "
        f"{'; '.join(sorted(reasons)) or 'none was started'}"
    )


def _check_camera(bag: Path, result: BagEpisodes, info: DatasetInfo) -> None:
    """Raise BagError if the episodes of a bag are of another camera than those before.

    Args:
        bag: Path of the bag, for the message.
        result: Its episodes.
        info: Description of the store, from the first bag with an episode.
    """
    expected = (info.camera, (info.camera_width, info.camera_height))
    if result.episodes and (result.camera, result.camera_size) != expected:
        width, height = result.camera_size
        raise BagError(
            f"{bag} has camera {result.camera} of {width}x{height} pixels, "
            f"the bags before it {info.camera} of {info.camera_width}x{info.camera_height}; "
            "export them into separate stores or choose one with --camera"
        )


def _worthwhile(bags: Sequence[Path]) -> int:
    """Return how many processes are worth starting.

    Args:
        bags: Recordings; the bytes of their files count.
    """
    size = 0
    for bag in bags:
        for file in [bag] if bag.is_file() else bag.glob("*"):
            size += file.stat().st_size
    return max(1, min(_cores(), len(bags), size // BYTES_PER_WORKER))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _read_all(
    bags: Sequence[Path], options: ReadOptions, workers: int
) -> Generator[BagEpisodes, None, None]:
    """Yield what each bag gives, in the order of the bags, with a progress bar.

    Args:
        bags: Recordings.
        options: How to read them.
        workers: Processes; 1: threads of this process.
    """
    lanes = workers if workers > 1 else min(_cores(), len(bags), THREADS)
    options = replace(options, threads=max(1, _cores() // lanes))
    read = functools.partial(read_episodes, options=options)
    with (
        tqdm(total=len(bags), unit="bag", desc="export") as bar,
        contextlib.ExitStack() as stack,
    ):
        pool = _make_pool(workers, lanes)
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        steps = 0
        for result in in_order(pool, read, bags, ahead=2 * lanes):
            steps += sum(len(episode) for episode in result.episodes)
            bar.set_postfix(steps=steps)
            bar.update()
            yield result


def _make_pool(workers: int, threads: int) -> Executor:
    """Return a pool of several processes, or for one of threads in this process."""
    if workers > 1:
        return WorkerPool(workers, _resize_in_one_thread)
    _resize_in_one_thread()
    return ThreadPoolExecutor(threads)


def _resize_in_one_thread() -> None:
    """Have OpenCV use one thread: several images are resized at a time."""
    cv2.setNumThreads(1)
