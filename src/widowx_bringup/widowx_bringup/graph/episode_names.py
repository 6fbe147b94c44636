"""Names of the episodes of a person: date, task, number, and four digits of an id.

An example is `2026-11-27_put-the-yellow-cube-on-the-white-plate_003_7f3a`. The name is the
episode's id and that of its bag. The digits are random: episodes of two folders, or of a
recorder on another computer, whose folder cannot be seen, differ in them.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

TASK_SIZE = 60
"""Letters of the task in a name; a bag's name has at most 128."""

_NUMBERED = re.compile(r"(?P<series>.+)_(?P<number>\d{3,})_[0-9a-f]{4}")


def task_slug(task: str) -> str:
    """Return a task in small letters, digits and hyphens only, at most `TASK_SIZE`.

    "task" where nothing is left, as of a name in another script.
    """
    plain = unicodedata.normalize("NFKD", task).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    return words[:TASK_SIZE].rstrip("-") or "task"


class EpisodeNames:
    """Names of the episodes of one session.

    A number follows the largest one of that day and task, among the bags in the recorder's
    folder and the episodes kept in this session. That of a discarded episode is used again.

    Args:
        today: Returns the day.
    """

    def __init__(self, today: Callable[[], date] = date.today) -> None:
        self._today = today
        self._kept: list[str] = []

    def next(self, task: str, folder: Path | None) -> str:
        """Return a name for an episode that begins.

        Args:
            task: Its task.
            folder: Where the recorder puts the bags; None if it is not known. It may be on
                another computer, and then is not found here.
        """
        series = f"{self._today().isoformat()}_{task_slug(task)}"
        numbers = [0]
        for name in [*self._kept, *_names_in(folder)]:
            match = _NUMBERED.fullmatch(name)
            if match is not None and match["series"] == series:
                numbers.append(int(match["number"]))
        return f"{series}_{max(numbers) + 1:03d}_{secrets.token_hex(2)}"

    def keep(self, name: str) -> None:
        """Note an episode whose bag stays; the bag may not be complete yet."""
        self._kept.append(name)


def _names_in(folder: Path | None) -> Iterator[str]:
    """Yield the names of the bags in a folder; none where it cannot be read."""
    try:
        if folder is not None:
            yield from [path.name for path in folder.iterdir()]
    except OSError:
        return
