"""Finds bags in folders, and names everything else there that holds messages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .errors import BagError
from .metadata import METADATA, storage_files


def find_bags(paths: Iterable[Path]) -> list[Path]:
    """Return the bags named, and those in the folders named, the latter by name.

    What is left out is printed with the reason.

    Raises:
        BagError: If a path does not exist or a folder holds no bag.
    """
    bags: list[Path] = []
    for path in paths:
        if _is_folder_of_bags(path):
            bags += _bags_in(path)
        else:
            bags.append(path)  # whether it is a bag, opening it shows
    return bags


def _is_folder_of_bags(path: Path) -> bool:
    """Return whether a path is a folder that can only hold bags, and is none itself."""
    if not path.is_dir() or path.name.endswith(".partial"):
        return False
    return not (path / METADATA).exists()


def _bags_in(folder: Path) -> list[Path]:
    """Return the bags in a folder by name, and print what is left out.

    Raises:
        BagError: If it holds no bag.
    """
    bags = sorted(file.parent for file in folder.glob(f"[!.]*/{METADATA}"))
    left_out = _left_out(folder)
    if not bags:
        reasons = [
            f"{folder} is neither a bag nor a folder of bags: it holds no {METADATA}"
        ]
        raise BagError("\n".join(reasons + left_out))
    for line in left_out:
        print(line)
    return bags


def _left_out(folder: Path) -> list[str]:
    """Return a line for each thing in a folder that holds messages and is no bag there."""
    lines = []
    partial = len(list(folder.glob(".*.partial")))
    if partial:
        lines.append(
            f"{folder}: {partial} interrupted recordings left out; "
            f"`ptr recover {folder}` restores them"
        )
    for file in storage_files(folder):
        lines.append(
            f"{file} left out: it lies in no bag. If it is a whole recording, name it "
            f"itself; if it is a part of one, `ros2 bag reindex {folder}`"
        )
    for file in sorted(folder.glob("[!.]*.bag")):
        lines.append(
            f"{file} left out: it is a ROS 1 bag; convert it: "
            f"rosbags-convert --src {file} --dst {file.with_suffix('')}"
        )
    for child in sorted(folder.glob("[!.]*/")):
        if not child.is_dir() or (child / METADATA).exists():
            continue
        if storage_files(child):
            lines.append(
                f"{child} left out: it has no {METADATA}, so its recording was killed or "
                f"copied in part; `ptr recover {folder}` restores a killed one, "
                f"`ros2 bag reindex {child}` makes the file of one that ended"
            )
        elif any(child.glob(f"[!.]*/{METADATA}")):
            lines.append(f"{child} left out: it is a folder of bags; name it as well")
    return lines
