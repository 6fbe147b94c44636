"""Where the metrics of a run go beside `metrics.csv`: TensorBoard, and Weights & Biases if asked.

wandb is an optional package, which is imported only where a configuration asks for it.
"""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ptr_common.files import atomic_file
from ptr_training.errors import TrainingError

WANDB_MODES = ("disabled", "offline", "online")

PROJECT = "ptr"
"""Project of the runs, unless the environment variable WANDB_PROJECT names another."""

STEP = "train_step"
"""The step among the values of wandb: a resumed run takes some steps again, which wandb's own
counter would refuse."""

_ID = "wandb_id.txt"


class Logger(Protocol):
    """Takes the metrics of a run."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step."""

    def close(self) -> None:
        """Write what has not been written yet."""


class TensorBoardLogger:
    """Events for TensorBoard.

    Args:
        folder: The run folder.
        step: The step that training continues from; events of later steps are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Logger`."""
        self._writer.close()


class WandbLogger:
    """A run of Weights & Biases, in the run folder and, online, on its server.

    Args:
        folder: The run folder; a resumed run goes on under the same id.
        mode: `offline` or `online`.
        config: What the run was configured with.

    Raises:
        TrainingError: If the package wandb is missing.
    """

    def __init__(self, folder: Path, mode: str, config: Mapping[str, Any]) -> None:
        self._run = import_wandb(mode).init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=f"{folder.resolve().parent.name}/{folder.resolve().name}",
            id=_run_id(folder),
            resume="allow",
            dir=str(folder),
            mode=mode,
            config=dict(config),
        )
        self._run.define_metric("*", step_metric=STEP)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        self._run.log({STEP: step, **values})

    def close(self) -> None:
        """See `Logger`."""
        self._run.finish()


def import_wandb(mode: str) -> Any:
    """Return the module wandb.

    Args:
        mode: What the configuration says, for the message.

    Raises:
        TrainingError: If it cannot be imported, naming what installs it.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise TrainingError(
            f"wandb is {mode}, but its package is not installed here ({error}): "
            "pip install -r requirements/optional/wandb.txt, or set wandb=disabled"
        ) from error


def _run_id(folder: Path) -> str:
    """Return the id of a run folder's run, a new one the first time."""
    file = folder / _ID
    if not file.is_file():
        with atomic_file(file) as path:
            path.write_text(uuid.uuid4().hex[:12] + "\n")
    return file.read_text().strip()
