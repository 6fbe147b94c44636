"""Files that the tasks need: which are there, what takes the place of a missing table, how to
get them. They are never part of this project: ManiSkill puts them under CC BY-NC 4.0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .tasks import BenchmarkError, BenchmarkTask

VARIABLE = "MS_ASSET_DIR"
"""Environment variable by which ManiSkill finds its assets, in the folder `data` of its value."""

DEFAULT = Path.home() / ".maniskill"
"""Where ManiSkill's downloads lie."""

ROBOT = Path("data/robots/widowx")
BRIDGE = Path("data/tasks/bridge_v2_real2sim_dataset")
STAGES = BRIDGE / "stages"
VISUALS = ("textured.obj", "textured.dae", "textured.glb")
"""Files of which an object has one."""

MESH = re.compile(r'filename="([^"]+)"')

HOW_TO_GET = (
    "get them from ManiSkill (CC BY-NC 4.0) with `python -m mani_skill.utils.download_asset "
    "bridge_v2_real2sim` and `… widowx250s`, or name another folder with --assets; "
    f"the folder is the one above `data`, by default {VARIABLE} or ~/.maniskill"
)

FLAT_TABLE = "the mesh of the table by a flat box (friction and shadows differ a little)"


@dataclass(frozen=True)
class TaskAssets:
    """What is there of the files of a task.

    Attributes:
        task: The task.
        missing: Files without which it cannot run, relative to the folder of assets.
        replaced: What takes the place of a file that is missing, in words; empty: nothing.
    """

    task: BenchmarkTask
    missing: tuple[str, ...]
    replaced: str = ""

    @property
    def note(self) -> str:
        """What a table has to say of the task; empty where everything is as published."""
        if self.missing:
            return f"left out, for want of {listed(self.missing)}"
        return f"replaced {self.replaced}" if self.replaced else ""


def assets_folder(named: Path | None) -> Path:
    """Return the folder of assets: the one named, else that of the environment, else ManiSkill's.

    Args:
        named: The option `--assets`.
    """
    return (named or Path(os.environ.get(VARIABLE) or DEFAULT)).expanduser()


def check_assets(folder: Path, task: BenchmarkTask) -> TaskAssets:
    """Return which files of a task are there.

    Args:
        folder: Folder of assets, above `data`.
        task: The task.
    """
    custom = BRIDGE / "custom"
    needed = [*robot_files(folder), custom / task.info]
    needed.append(BRIDGE / "real_inpainting" / task.photo)
    absent = [path for path in needed if not (folder / path).is_file()]
    for name in (*task.objects, *task.fixtures):
        absent += _absent_of_model(folder, custom / "models" / name)
    missing = tuple(str(path) for path in absent)
    stage = (folder / STAGES / task.stage).is_file()
    return TaskAssets(task, missing, "" if stage else FLAT_TABLE)


def robot_files(folder: Path) -> list[Path]:
    """Return the robot's description and the meshes that it names, relative to the folder."""
    urdf = ROBOT / "wx250s.urdf"
    try:
        text = (folder / urdf).read_text(encoding="utf-8")
    except OSError:
        return [urdf]
    return [urdf, *(ROBOT / name for name in sorted(set(MESH.findall(text))))]


def _absent_of_model(folder: Path, model: Path) -> list[Path]:
    """Return which of an object's two files are missing: collision and visual mesh."""
    absent = []
    if not (folder / model / "collision.obj").is_file():
        absent.append(model / "collision.obj")
    if not any((folder / model / name).is_file() for name in VISUALS):
        absent.append(model / "textured.dae")
    return absent


def usable_tasks(
    folder: Path, tasks: Sequence[BenchmarkTask], *, chosen: bool
) -> list[TaskAssets]:
    """Return what is there of each task, those that cannot run included.

    Args:
        folder: Folder of assets.
        tasks: The tasks.
        chosen: Whether the user named them; then none may lack a file.

    Raises:
        BenchmarkError: If none can run, or one that was chosen cannot.
    """
    found = [check_assets(folder, task) for task in tasks]
    lacking = [each for each in found if each.missing]
    if lacking and (chosen or len(lacking) == len(found)):
        names = dict.fromkeys(name for each in lacking for name in each.missing)
        raise BenchmarkError(f"{folder} lacks {listed(names)}; {HOW_TO_GET}")
    return found


def note_lines(notes: Mapping[str, str]) -> list[str]:
    """Return a line for each note, with the tasks that it is about.

    Args:
        notes: By the name of the task; empty ones say nothing.
    """
    tasks: dict[str, list[str]] = {}
    for name, note in notes.items():
        if note:
            tasks.setdefault(note, []).append(name)
    return [f"{', '.join(names)}: {note}" for note, names in tasks.items()]


def listed(names: Iterable[str], most: int = 6) -> str:
    """Return some names, and how many more there are."""
    every = list(names)
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more files" if rest > 0 else "")


def link_assets(folder: Path, into: Path) -> None:
    """Make a folder of links to the assets, to which a table can be added.

    Args:
        folder: Folder of assets.
        into: Empty folder; it gets `data/…/stages` as a folder of its own.
    """
    _link(folder / ROBOT, into / ROBOT)
    for name in ("custom", "real_inpainting"):
        _link(folder / BRIDGE / name, into / BRIDGE / name)
    (into / STAGES).mkdir(parents=True)
    for file in (folder / STAGES).glob("*"):
        _link(file, into / STAGES / file.name)


def _link(target: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target.absolute())
