"""Names of the bags of trials: `trial_0007_2` is the second try of trial 7.

The name is the episode's id, so START and end event have it as well: from a bag alone one knows
its trial, and which of several tries of a trial came last.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = "bags"
"""Folder of the bags, in that of the session."""

_NAME = re.compile(r"trial_(\d{4,})_(\d+)")


def new_name(folder: Path, number: int) -> str:
    """Return the name of the next try of a trial: the first that no recording has.

    Args:
        folder: Of the session.
        number: Of the trial.
    """
    tries = [0]
    for path in (folder / FOLDER).glob(f"*trial_{number:04d}_*"):  # unfinished ones, too
        if found := _NAME.search(path.name):
            tries.append(int(found[2]))
    return f"trial_{number:04d}_{max(tries) + 1}"


def trial_of(name: str) -> tuple[int, int] | None:
    """Return number and try of a trial by its name; None if it is the name of none."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None
