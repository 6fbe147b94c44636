"""What a run folder says of its run, and whether a command may go on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ptr_common.files import atomic_file
from ptr_training.errors import TrainingError

from .checkpoint import Checkpoint

FREE_TO_CHANGE = frozenset(
    {
        "steps",
        "keep",
        "checkpoint_every",
        "checkpoint_at",
        "log_every",
        "evaluate_every",
        "metric",
        "patience",
        "on_divergence",
        "wandb",
        "device",
        "threads",
        "replay",
        "accelerate",
        "path",
        "from",
    }
)
"""Last names of the configuration and data keys that may differ when a run is resumed."""


def describe_run(start: Checkpoint, out: Path) -> None:
    """Write the configuration, the task ids and the sources of the data into a run folder."""
    with atomic_file(out / "config.yaml") as path:
        path.write_text(start.config.to_yaml())
    with atomic_file(out / "tasks.yaml") as path:
        start.task_ids.save(path)
    with atomic_file(out / "data.json") as path:
        path.write_text(json.dumps(start.data, indent=1) + "\n")


def check_same(saved: Checkpoint, wanted: Checkpoint) -> None:
    """Refuse to resume with other data or another configuration, naming the first difference."""
    # the section `data` of the configuration has other keys than the record of the stores
    before = _flat(saved.data, "data.") | _flat(saved.config.to_dict())
    now = _flat(wanted.data, "data.") | _flat(wanted.config.to_dict())
    for key in sorted(before.keys() | now.keys()):
        if key.rsplit(".", 1)[-1] in FREE_TO_CHANGE:
            continue
        if before.get(key) != now.get(key):
            raise TrainingError(
                f"cannot resume: {key} was {before.get(key)!r} in the run and is "
                f"{now.get(key)!r} now; use the same command, or another --out"
            )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted keys; the sections of a list have its indices as names."""
    if isinstance(values, list) and values and isinstance(values[0], dict):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return {prefix[:-1]: values}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.")
    return flat
