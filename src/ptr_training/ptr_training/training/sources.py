"""The episode stores that a training command names.

Each may be named once. Likely mistakes are warned of: a target store of several tasks, task
names that differ from a known one in spelling only.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptr_common.names import did_you_mean, find_task
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.errors import TrainingError

_ARTICLES = frozenset({"a", "an", "the"})
_SAME_WORD = 0.8  # similarity of two spellings of one word; "red" and "green" have 0.5


def open_distinct(paths: Mapping[str, Sequence[Path]]) -> dict[str, list[EpisodeStore]]:
    """Open the stores of each option.

    Args:
        paths: Folders of the stores by the option that names them, such as `--prior`.

    Returns:
        The stores, by the same options and in the same order.

    Raises:
        StoreError: If one cannot be opened.
        TrainingError: If two are the same folder, or hold the same episodes.
    """
    first_uses: dict[str, str] = {}
    stores: dict[str, list[EpisodeStore]] = {}
    for option, folders in paths.items():
        stores[option] = []
        for folder in folders:
            store = EpisodeStore.open(folder)
            use = f"{option} {folder}"
            if store.fingerprint in first_uses:
                raise TrainingError(
                    f"{use} holds the same episodes as {first_uses[store.fingerprint]}; "
                    "name every store once"
                )
            first_uses[store.fingerprint] = use
            stores[option].append(store)
    return stores


def describe_source(store: EpisodeStore) -> dict[str, Any]:
    """Return what a run records of a store, after a check of every pixel.

    Raises:
        StoreError: If the pixels were altered.
    """
    store.check_pixels()
    return {
        "name": store.info.name,
        "path": str(store.path.resolve()),
        "sha256": store.fingerprint,
    }


# Likely mistakes, which are allowed and warned of


def warn(text: str) -> None:
    """Print a warning to stderr; of several `torchrun` processes only the first one does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"warning: {text}", file=sys.stderr)


def warn_of_swapped_stores(target: EpisodeStore, prior: Sequence[EpisodeStore]) -> None:
    """Warn if the target store holds several tasks, as prior data does."""
    if len(target.tasks) < 2:
        return
    held = (
        f"--target {target.path} holds {len(target.tasks)} tasks ({_listed(target.tasks)})"
    )
    if not prior:
        warn(f"{held}; a target store usually holds one: is this the prior data?")
        return
    prior_tasks = sorted({name for store in prior for name in store.tasks})
    warn(
        f"{held} and --prior {len(prior_tasks)} ({_listed(prior_tasks)}); "
        "a target store usually holds one: are --prior and --target swapped?"
    )


def warn_of_similar_tasks(option: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Warn of new task names that look like a known one spelt differently.

    Args:
        option: The option that brings the names, for the text.
        names: Task names; those in `known` are fine.
        known: The tasks that have an id already.
    """
    for name in names:
        if name in known:
            continue
        if (same := find_task(name, known)) is not None:
            warn(f"{option}: {name!r} is taken for the known {same!r}")
            continue
        similar = [other for other in known if is_near_miss(name, other)]
        if similar:
            warn(
                f"{option}: {name!r} becomes a new task, beside the known {similar[0]!r}; "
                "if both are the same task, spell them alike"
            )


def is_near_miss(name: str, other: str) -> bool:
    """Return whether two different task names are spellings of one.

    They are if their words are pairwise alike, upper case and articles aside.
    """
    words, others = _content_words(name), _content_words(other)
    if name == other or len(words) != len(others):
        return False
    for word, other_word in zip(words, others, strict=True):
        if difflib.SequenceMatcher(None, word, other_word).ratio() < _SAME_WORD:
            return False
    return True


def _content_words(name: str) -> list[str]:
    return [word for word in name.casefold().split() if word not in _ARTICLES]


def retarget_ids(
    retarget: Mapping[str, str], task_ids: TaskIds, target: EpisodeStore | None = None
) -> None:
    """Let tasks use the ids of known ones, after checking the names.

    Args:
        retarget: Tasks of the target store by the known tasks whose ids they use.
        task_ids: The known tasks.
        target: The demonstrations; None before they are known.

    Raises:
        TrainingError: If a task to use is unknown, naming the nearest known one.
    """
    known_names = [*task_ids.names, *task_ids.aliases]
    for name, known in retarget.items():
        if known not in known_names:
            hint = did_you_mean(known, known_names, quote=True)
            raise TrainingError(
                f"--retarget {name}={known}: unknown task {known!r}; {hint}"
            )
        if target is not None and name not in target.tasks:
            hint = did_you_mean(name, target.tasks, quote=True)
            warn(f"--retarget {name}={known}: {target.path} has no task {name!r}; {hint}")
        task_ids.retarget(name, known)


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Return names for a sentence, only the first few of many."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
