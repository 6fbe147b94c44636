"""`ptr view`: a bag, a store or an evaluation as a file of the Rerun viewer."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ptr_common.arguments import VerbParser, positive_int
from ptr_common.progress import progress
from ptr_training.bags.find import find_bags
from ptr_training.data.store import EpisodeStore

from .bag_timeline import read_bag
from .rerun_file import import_rerun, write_rerun
from .timeline import Timeline, ViewError, of_episode

RESULTS = "results.csv"
"""File by which the folder of an evaluation is known."""

CARD = "card.yaml"
"""File by which an episode store is known."""


def main(argv: list[str]) -> int:
    """Write a bag, a store or an evaluation as a file for the Rerun viewer."""
    parser = VerbParser("view", main.__doc__)
    parser.add_argument(
        "what",
        type=Path,
        metavar="BAG|STORE|EVALUATION",
        help="a bag, a folder of bags, an episode store, or the --out folder of `ptr evaluate`",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.rrd", help="file to make (default: beside it)"
    )
    parser.add_argument(
        "--episodes",
        type=positive_int,
        default=20,
        metavar="N",
        help="episodes, bags or rollouts at most, the first ones",
    )
    options = parser.parse_args(argv)
    import_rerun()  # says what is missing before anything is read
    out = options.out or _beside(options.what)
    if out.suffix != ".rrd":
        raise ViewError(f"--out is {out}; the name of a Rerun file ends in .rrd")
    if out.resolve().is_relative_to(options.what.resolve()):
        raise ViewError(f"{out} is inside {options.what}; choose another --out")
    count, timelines = open_timelines(options.what)
    shown = min(count, options.episodes)
    with progress(total=shown, unit="episode", desc="view") as bar:
        write_rerun(out, _first(timelines, shown, bar.update))
    rest = f", of {count} (--episodes {count}: all)" if shown < count else ""
    print(f"{out}: {shown} episodes{rest}, {out.stat().st_size / 1e6:.1f} MB\nrerun {out}")
    return 0


def _beside(what: Path) -> Path:
    """Return the file beside a folder that is made unless another one is chosen."""
    resolved = what.resolve()
    return resolved.with_name(f"{resolved.name}.rrd")


def _first(timelines: Iterator[Timeline], count: int, step: object) -> Iterator[Timeline]:
    """Yield the first timelines; `step` is called after each, for a progress bar."""
    for _, timeline in zip(range(count), timelines, strict=False):
        yield timeline
        if callable(step):
            step(1)


def open_timelines(path: Path) -> tuple[int, Iterator[Timeline]]:
    """Return how many episodes there are, and the timeline of each, read when it is asked for.

    Args:
        path: A bag, a folder of bags, an episode store, or the folder of an evaluation.

    Raises:
        PtrError: If it is none of them.
    """
    if not path.exists():
        raise ViewError(f"{path} does not exist; give a bag, a store or an evaluation")
    if (path / RESULTS).is_file():
        return _of_evaluation(path)
    if (path / CARD).is_file():
        return _of_store(path, "")
    bags = find_bags([path])
    return len(bags), (read_bag(bag) for bag in bags)


def _of_store(path: Path, prefix: str) -> tuple[int, Iterator[Timeline]]:
    """Return the timelines of a store; titles begin with `prefix`."""
    store = EpisodeStore.open(path)

    def timelines() -> Iterator[Timeline]:
        """Yield one after the other."""
        for episode in store:
            timeline = of_episode(episode, store.info.camera)
            yield replace(timeline, title=prefix + timeline.title)

    return len(store), timelines()


def _of_evaluation(path: Path) -> tuple[int, Iterator[Timeline]]:
    """Return the timelines of the bags of an evaluation, or else of its kept episodes."""
    with (path / RESULTS).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("bag")]
    if rows:
        return len(rows), (_rollout(path, row) for row in rows)
    stores = [card.parent for card in sorted(path.glob(f"episodes/*/{CARD}"))]
    if not stores:
        raise ViewError(
            f"{path} holds neither bags nor episodes: it ran without ROS, and without "
            "--keep-episodes; its film strips, and films.html where films were made, show it"
        )
    opened = [_of_store(store, f"{store.name}: ") for store in stores]

    def timelines() -> Iterator[Timeline]:
        """Yield one after the other."""
        for _, of_one in opened:
            yield from of_one

    return sum(count for count, _ in opened), timelines()


def _rollout(folder: Path, row: dict[str, str]) -> Timeline:
    """Return the timeline of a row of `results.csv` with a bag.

    Raises:
        PtrError: If its bag is not in the folder, or cannot be read.
    """
    bag = (folder / row["bag"]).resolve()
    if not bag.is_relative_to(folder.resolve()):
        raise ViewError(
            f"{folder / RESULTS} names the bag {row['bag']}, outside of {folder}"
        )
    timeline = read_bag(bag)
    title = f"{row.get('method', '')}, scene {row.get('rollout', '')}"
    return replace(timeline, title=title, outcome=row.get("reason") or timeline.outcome)
