"""`ptr convert`: an episode store into the format of another project."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ptr_training.data.store import EpisodeStore

from .lerobot import writer as lerobot_writer

FORMATS: dict[str, Callable[..., None]] = {"lerobot": lerobot_writer.write}
"""Name -> function of the store, the folder to make and the switch `video`."""


def main(argv: list[str]) -> int:
    """Convert an episode store into a data set of another format (LeRobot)."""
    parser = argparse.ArgumentParser(prog="ptr convert", description=main.__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="episode store to read")
    parser.add_argument(
        "--to", required=True, choices=sorted(FORMATS), help="format to write (required)"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder to make (required)"
    )
    parser.add_argument(
        "--video",
        action="store_true",
        help="images as mp4: smaller, not exact [PNG, exact]",
    )
    arguments = parser.parse_args(argv)
    store = EpisodeStore.open(arguments.store)
    FORMATS[arguments.to](store, arguments.out, video=arguments.video)
    size = _size_of(arguments.out)
    images = "mp4, altered by it" if arguments.video else "PNG, exact"
    print(
        f"{arguments.out}: {len(store)} episodes of {len(store.tasks)} tasks, "
        f"{len(store.steps)} frames, {size / 1e6:.1f} MB; images as {images}"
    )
    return 0


def _size_of(folder: Path) -> int:
    """Return the size of all files in a folder [bytes]."""
    size = 0
    for path in folder.rglob("*"):
        if path.is_file():
            size += path.stat().st_size
    return size
