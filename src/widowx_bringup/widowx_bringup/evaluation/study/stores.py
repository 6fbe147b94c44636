"""The data of a study: stores that are given, or that a plan has simulated for each seed.

A plan's `data` holds the options of `ptr collect` by the name of each store. `seed` is the
distance of the store's seed from that of the training, and `{task}` the task of the study.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptr_common.errors import PtrError
from ptr_training.data.store import EpisodeStore
from widowx_bringup.evaluation.ptr_command import ptr_command
from widowx_bringup.sim import collect
from widowx_bringup.sim.camera_shift import NO_SHIFT, CameraShift

GIVEN = ("prior", "target")
"""Stores that the command line may give in place of a plan's own."""


class StudyError(PtrError):
    """A study cannot be carried out."""


def collecting(
    name: str, options: Mapping[str, Any], *, task: str, seed: int, out: Path
) -> list[str]:
    """Return the command that simulates a store.

    Args:
        name: Name of the store, for error messages.
        options: Options of `ptr collect` by name, `_` in place of `-`.
        task: Task of the study.
        seed: Seed of the training.
        out: Folder of the store.
    """
    words = dict(options)
    tasks = words.pop("tasks", ["prior"])
    if not isinstance(tasks, list):
        raise StudyError(f"data: {name}: tasks is {tasks!r}; it must be a list of names")
    distance = words.pop("seed", 0)
    if not isinstance(distance, int) or isinstance(distance, bool):
        raise StudyError(f"data: {name}: seed is {distance!r}; it must be a whole number")
    named = [str(each).replace("{task}", task) for each in tasks]
    return [
        *ptr_command("collect", out=out, seed=seed + distance, **words),
        "--tasks",
        *named,
    ]


def check_options(where: str, options: Mapping[str, Any]) -> None:
    """Check the options of a store as `ptr collect` does, which says what it refuses.

    Args:
        where: Place of the options, for error messages.
        options: The options.

    Raises:
        StudyError: If they are refused.
    """
    if "out" in options:
        raise StudyError(f"{where}: out is not an option here; a study has its own folder")
    command = collecting(where, options, task="prior", seed=0, out=Path("store"))
    try:
        collect.parser().parse_args(command[1:])
    except SystemExit as error:
        raise StudyError(
            f"{where}: `ptr collect` refuses these options, see above"
        ) from error


def camera_of(store: Path) -> CameraShift:
    """Return where the camera stood whose images a store holds: policies are rolled out with it.

    Args:
        store: Folder of demonstrations; one that is not there is read by no row.

    Raises:
        StudyError: If it stood in several places.
    """
    if not store.exists():
        return NO_SHIFT
    shifts = set()
    for source in EpisodeStore.open(store).info.sources:
        shifts.add(CameraShift(**source.get("camera_shift", {})))
    if len(shifts) > 1:
        raise StudyError(f"{store}: its camera stood in several places: {shifts}")
    return shifts.pop() if shifts else NO_SHIFT
