"""Tasks and their ids."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from ptr_common.names import find_task, fold_task
from ptr_training.errors import TrainingError


@dataclass
class TaskIds:
    """Task names and their ids: an ordered list that is only ever appended to.

    `width` (the length of the one-hot task id) is fixed before pre-training, with free
    slots for the targets, so that an id never changes its meaning. The official code sorts
    the names instead, which renumbers the tasks when one is added.
    """

    width: int
    names: list[str] = field(default_factory=list)
    # re-targeted tasks: new name to the one whose id it uses
    aliases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def for_tasks(cls, names: list[str], reserve: int) -> TaskIds:
        """Return ids of the distinct names, in the order given, with `reserve` free slots.

        Names that differ in case or blanks only are one.
        """
        distinct: dict[str, str] = {}
        for name in names:
            distinct.setdefault(fold_task(name), name)
        return cls(len(distinct) + reserve, list(distinct.values()))

    def add(self, name: str) -> int:
        """Return the id of a task, giving it the next free slot if it is new.

        Raises:
            TrainingError: If no slot is free.
        """
        if find_task(name, [*self.names, *self.aliases]) is None:
            if len(self.names) == self.width:
                raise TrainingError(
                    f"no free slot for task {name!r}: all {self.width} are taken by "
                    f"{', '.join(self.names)}; pre-train with a larger `reserve`, "
                    "or use the id of one of them with --retarget"
                )
            self.names.append(name)
        return self.id(name)

    def retarget(self, name: str, existing: str) -> None:
        """Let a task use the id of an existing one (paper §5: an old skill on a new object).

        The slot that the task had, if any, stays unused.

        Raises:
            TrainingError: If the existing task is unknown, or the name stands for another
            one already.
        """
        chosen = self.names[self.id(existing)]
        if self.aliases.get(name, chosen) != chosen:
            raise TrainingError(
                f"task {name!r} uses the id of {self.aliases[name]!r}; "
                f"it cannot take {existing!r}'s"
            )
        if name != chosen:
            self.aliases[name] = chosen

    def id(self, name: str) -> int:
        """Return the id of a known task; raises TrainingError listing the known ones.

        Case and blanks do not count.
        """
        known = find_task(name, [*self.names, *self.aliases])
        if known is None:
            names = ", ".join([*self.names, *self.aliases])
            raise TrainingError(f"unknown task {name!r}; known: {names}")
        return self.names.index(self.aliases.get(known, known))

    def save(self, path: Path) -> None:
        """Write names, width and aliases as YAML."""
        path.write_text(yaml.safe_dump(asdict(self), sort_keys=False))
