"""`ptr export`: bags into an episode store, several processes, with an audit and a table."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from ptr_common.camera_latency import camera_latency
from ptr_common.errors import PtrError
from ptr_training.data.episode import DatasetInfo, EpisodeWriter, StoreError
from ptr_training.data.workers import WorkerPool, in_order

from .episodes_from_bag import BagEpisodes, ReadOptions, read_episodes
from .mcap_reader import BagError

THREADS = 4
"""Bags read at a time in one process: more would wait for the interpreter, which holds it a quarter of the time."""

BYTES_PER_WORKER = 2 << 30
"""Processes are started only where each gets this much to read, some seconds: starting one takes a second."""


def main(argv: list[str]) -> int:
    """Turn recorded bags into an episode store."""
    parser = argparse.ArgumentParser(
        prog="ptr export",
        description="Turn recorded bags into an episode store. How messages become steps is described in bags.py.",
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
        choices=("executed", "requested"),
        default="executed",
        help="which is learnt from [%(default)s]",
    )
    parser.add_argument(
        "--camera", default="", metavar="NAME", help="where a bag holds several"
    )
    parser.add_argument(
        "--camera-latency",
        type=float,
        metavar="S",
        help="by how much the camera's stamps are late [s], whatever the bags say (see `ptr calibrate camera`)",
    )
    parser.add_argument(
        "--task", default="", help="what was done, for bags that do not say it"
    )
    parser.add_argument(
        "--outcome",
        choices=("success", "failure", "stop"),
        default="success",
        help="how it ended, for bags without episode events [%(default)s]",
    )
    parser.add_argument(
        "--check-crc",
        action="store_true",
        help="verify the checksums of all chunks (slower)",
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes [as many as are worth it]"
    )
    arguments = parser.parse_args(argv)
    if not 8 <= arguments.image_size <= 1024:
        raise PtrError(
            f"--image-size is {arguments.image_size}; allowed are 8 to 1024 pixels"
        )
    if arguments.camera_latency is not None:
        camera_latency(arguments.camera_latency)
    names = (
        "image_size",
        "camera",
        "camera_latency",
        "command",
        "task",
        "outcome",
        "check_crc",
    )
    options = ReadOptions(**{name: getattr(arguments, name) for name in names})
    audits = export(find_bags(arguments.bags), arguments.out, options, arguments.workers)
    print(table(audits))
    return 0


def find_bags(paths: Iterable[Path]) -> list[Path]:
    """Return the bags named, and those in the folders named, the latter by name.

    Raises:
        BagError: If a path does not exist or a folder holds no bag.
    """
    bags: list[Path] = []
    for path in paths:
        if (
            path.is_file()
            or (path / "metadata.yaml").exists()
            or not path.is_dir()
            or path.name.endswith(".partial")
        ):
            bags.append(path)  # whatever is wrong with it, opening it says so
            continue
        found = sorted(file.parent for file in path.glob("[!.]*/metadata.yaml"))
        if not found:
            raise BagError(
                f"{path} is neither a bag nor a folder of bags: it holds no metadata.yaml"
            )
        if partial := sum(1 for _ in path.glob(".*.partial")):
            print(
                f"{path}: {partial} interrupted recordings left out; `ptr recover {path}` restores them"
            )
        bags += found
    return bags


def export(
    bags: Sequence[Path], out: Path, options: ReadOptions, workers: int = 0
) -> list[dict[str, Any]]:
    """Write the episodes of some bags into a new store.

    Equal bags in equal order give an equal store, whatever the number of workers.

    Args:
        bags: Recordings, in the order their episodes shall have.
        out: Folder to make; it appears only once complete.
        options: What the bags do not say.
        workers: Processes; 0 chooses.

    Returns:
        The audit of each bag, as in `audit.json`.

    Raises:
        PtrError: If a bag cannot be read, the bags do not fit together, or `out` exists.
    """
    if out.exists():
        raise StoreError(f"{out} exists already; choose another folder or remove it first")
    with contextlib.closing(
        _read_all(bags, options, workers or _worthwhile(bags))
    ) as results:
        head = list(_up_to_first_episode(results))
        first = head[-1]
        card = DatasetInfo(
            name=out.name,
            camera=first.camera,
            camera_width=first.camera_size[0],
            camera_height=first.camera_size[1],
            image_height=options.image_size,
            image_width=options.image_size,
            command=options.command,
        )
        audits = []
        with EpisodeWriter(out, card) as writer:
            for bag, result in zip(bags, itertools.chain(head, results), strict=True):
                _check_camera(bag, result, card)
                for episode in result.episodes:
                    writer.add(episode)
                audits.append(result.audit)
            sources = tuple(
                {name: audit[name] for name in ("name", "sha256", "camera_latency")}
                for audit in audits
            )
            writer.card = replace(card, sources=sources)
            (writer.folder / "audit.json").write_text(
                json.dumps({"bags": audits}, indent=1) + "\n"
            )
    return audits


def table(audits: Sequence[dict[str, Any]]) -> str:
    """Return what was kept and what was dropped, for the terminal."""
    episodes = [(audit["name"], entry) for audit in audits for entry in audit["episodes"]]
    kept = [entry for _, entry in episodes if entry["steps"]]
    lines = [f"{'topic':<40} {'messages':>9} {'used':>9}  dropped"]
    fates: dict[str, Counter[str]] = {}
    for audit in audits:
        for topic, entry in audit["topics"].items():
            fates.setdefault(topic, Counter()).update(entry["fates"])
    for topic, counts in sorted(fates.items()):
        dropped = ", ".join(
            f"{number} {fate}" for fate, number in counts.most_common() if fate != "used"
        )
        lines.append(f"{topic:<40} {counts.total():>9} {counts['used']:>9}  {dropped}")
    outcomes = Counter(entry["outcome"] for entry in kept)
    lines.append(
        f"\n{len(audits)} bags, {len(kept)} episodes ({', '.join(f'{n} {o}' for o, n in outcomes.most_common())}), "
        f"{sum(entry['steps'] for entry in kept)} steps, {sum(entry['held'] for entry in kept)} of them held, "
        f"{sum(entry['not executed'] for entry in kept)} commands not executed"
    )
    if late := Counter(
        audit["camera_latency"] for audit in audits if audit["camera_latency"]
    ):
        lines += [
            f"{number} bags: pictures taken for {1e3 * s:.1f} ms earlier than stamped"
            for s, number in late.items()
        ]
    lines += [
        f"dropped episode {entry['id']} of {name}: {entry['refused']}"
        for name, entry in episodes
        if not entry["steps"]
    ]
    return "\n".join(lines)


def _up_to_first_episode(results: Iterable[BagEpisodes]) -> Iterator[BagEpisodes]:
    reasons = set()
    for result in results:
        yield result
        if result.episodes:
            return
        reasons |= {entry["refused"] for entry in result.audit["episodes"]}
    raise StoreError(
        f"no bag holds an episode that can be used: {'; '.join(sorted(reasons)) or 'none was started'}"
    )


def _check_camera(bag: Path, result: BagEpisodes, card: DatasetInfo) -> None:
    wanted = (card.camera, (card.camera_width, card.camera_height))
    if result.episodes and (result.camera, result.camera_size) != wanted:
        width, height = result.camera_size
        raise BagError(
            f"{bag} has camera {result.camera} of {width}x{height} pixels, the bags before it {card.camera} of "
            f"{card.camera_width}x{card.camera_height}; export them into separate stores or choose one with --camera"
        )


def _worthwhile(bags: Sequence[Path]) -> int:
    """Return how many processes are worth starting."""
    size = sum(
        file.stat().st_size
        for bag in bags
        for file in ([bag] if bag.is_file() else bag.glob("*"))
    )
    return max(1, min(_cores(), len(bags), size // BYTES_PER_WORKER))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _read_all(
    bags: Sequence[Path], options: ReadOptions, workers: int
) -> Generator[BagEpisodes, None, None]:
    """Yield what each bag gives, in the order of the bags, with a progress bar."""
    lanes = workers if workers > 1 else min(_cores(), len(bags), THREADS)
    read = functools.partial(
        read_episodes, options=replace(options, threads=max(1, _cores() // lanes))
    )
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
    """Return a pool of several processes, else of threads in this one."""
    if workers > 1:
        return WorkerPool(workers, _resize_in_one_thread)
    _resize_in_one_thread()
    return ThreadPoolExecutor(threads)


def _resize_in_one_thread() -> None:
    cv2.setNumThreads(1)  # whole images are what is done in parallel
