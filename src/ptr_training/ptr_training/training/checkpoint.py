"""Checkpoint files, from which training continues bit for bit, and the run folders that hold them.

A checkpoint file is complete or absent. `build.restore_agent` makes an agent of one.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ptr_common.documents import Fields, read_json
from ptr_common.files import atomic_file
from ptr_training.data.episode import DatasetInfo
from ptr_training.data.normalization import DataSpec
from ptr_training.data.task_ids import TaskIds
from ptr_training.errors import TrainingError

from .config import Config, from_dict

FORMAT_VERSION = 2

DIGEST_MARK = b"ptr-sha256:"
"""What stands before the digest, which is the comment at the end of the zip archive."""

END_MARK, END_BYTES = b"PK\x05\x06", 22
"""How the last record of a zip archive without comment begins, and its length."""

DIGEST_BYTES = len(DIGEST_MARK) + 64

BEST = "best.json"
"""File of a run folder that names the best checkpoint, where a stage may end early."""


ANOTHER = "use an earlier one"
"""What to do about a checkpoint that cannot be used."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, truncated, of another version or of another run."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training stage after `step` of its gradient steps."""

    step: int
    config: Config
    data_spec: DataSpec
    task_ids: TaskIds
    info: DatasetInfo  # of the training data: camera, action and image pipeline
    data: dict[str, Any]  # the stores with their fingerprints, see `stages`
    agent: dict[str, Any]  # Agent.state()
    sampler: torch.Tensor  # state of the replay's generator

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        values = {
            "step": self.step,
            "config": self.config.to_dict(),
            "problem": asdict(self.data_spec),
            "tasks": asdict(self.task_ids),
            "card": asdict(self.info),
            "data": self.data,
            "agent": self.agent,
            "sampler": self.sampler,
            "format_version": FORMAT_VERSION,
        }
        # torch.save may abort the process when the disk is full, so it writes to memory
        buffer = io.BytesIO()
        torch.save(values, buffer)
        with atomic_file(path) as temporary:
            _write_with_digest(temporary, buffer.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        CheckpointError: If it is missing, truncated, altered, not a checkpoint or of another
            version.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    _check_digest(path)
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes PyTorch raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is truncated or not a checkpoint ({reason}); {ANOTHER}"
        ) from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {version!r}, this version reads {FORMAT_VERSION}"
        )
    try:
        return _checkpoint_of(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is incomplete or holds a value of a wrong type "
            f"({type(error).__name__}: {error}); {ANOTHER}"
        ) from error


def _checkpoint_of(values: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint with the values of a file."""
    return Checkpoint(
        step=values["step"],
        config=from_dict(_today(values["config"])),
        data_spec=DataSpec(**values["problem"]),
        task_ids=TaskIds(**values["tasks"]),
        info=DatasetInfo(**values["card"]),
        data=values["data"],
        agent=values["agent"],
        sampler=values["sampler"],
    )


def _write_with_digest(path: Path, content: memoryview) -> None:
    """Write a zip archive with its own SHA-256 as its comment, which readers skip.

    Args:
        path: File to write.
        content: The archive without comment, so that its last two bytes are zero, the
            length of the comment.
    """
    comment = DIGEST_MARK + hashlib.sha256(content).hexdigest().encode()
    with path.open("wb") as file:
        file.write(content[:-2])
        file.write(len(comment).to_bytes(2, "little"))
        file.write(comment)


def _check_digest(path: Path) -> None:
    """Refuse a file that is not the one that was written; those of 0.1.0 have no digest.

    Raises:
        CheckpointError: If it was altered, or ends in anything else than an archive does.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - DIGEST_BYTES - 2))
        length, comment = file.read(2), file.read()
        if not comment.startswith(DIGEST_MARK):
            if comment[-END_BYTES:][:4] != END_MARK:
                raise CheckpointError(
                    f"{path} is truncated or not a checkpoint (its end is missing); {ANOTHER}"
                )
            return
        digest = hashlib.sha256()
        left = size - DIGEST_BYTES - 2
        file.seek(0)
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        digest.update(bytes(2))
    expected = comment[len(DIGEST_MARK) :].decode("ascii", "replace")
    is_whole = int.from_bytes(length, "little") == DIGEST_BYTES
    if digest.hexdigest() != expected or not is_whole:
        raise CheckpointError(
            f"{path}: SHA-256 is {digest.hexdigest()[:12]}…, {expected[:12]}… was written; "
            f"it was altered or damaged: {ANOTHER}"
        )


def _today(config: dict[str, Any]) -> dict[str, Any]:
    """Return a saved configuration with the keys of today."""
    config = dict(config)
    if "compile" in config:  # until 0.1.0; `accelerate` took its place
        config["accelerate"] = "compile" if config.pop("compile") else "auto"
    return config


def list_checkpoints(run: Path) -> dict[int, Path]:
    """Return the checkpoints of a run folder by step, in order."""
    paths = {}
    for path in (run / "checkpoints").glob("step_*.pt"):
        if match := re.fullmatch(r"step_(\d+)", path.stem):
            paths[int(match[1])] = path
    return dict(sorted(paths.items()))


def find_checkpoint(path: Path, step: int | None = None) -> Path:
    """Return a checkpoint file.

    Args:
        path: The file itself, or a run folder.
        step: Which checkpoint of a run folder; the newest if None.

    Raises:
        CheckpointError: If there is none, naming the steps that exist.
    """
    if path.is_file():
        return path
    paths = list_checkpoints(path)
    if not paths:
        raise CheckpointError(
            f"{path} is neither a checkpoint nor a run folder with checkpoints/step_N.pt"
        )
    if step is None:
        return paths[max(paths)]
    if step not in paths:
        steps = ", ".join(map(str, paths))
        raise CheckpointError(
            f"{path} has no checkpoint of step {step}; there are: {steps}"
        )
    return paths[step]


def chosen_step(run: Path) -> int | None:
    """Return the step that `ptr select` chose, else the best one of a run that may end early.

    None if there is neither.

    Raises:
        CheckpointError: If a file is damaged.
    """
    chosen = _step_in(
        run / "select" / "choice.json", "run `ptr select` again, or name a checkpoint file"
    )
    return best_step(run) if chosen is None else chosen


def best_step(run: Path) -> int | None:
    """Return the best step of a run that may end early, see `EarlyStopConfig`; else None.

    Raises:
        CheckpointError: If its file is damaged.
    """
    return _step_in(run / BEST, "name a checkpoint file")


def _step_in(file: Path, remedy: str) -> int | None:
    """Return the step that a file names; None if there is no such file."""
    if not file.is_file():
        return None
    try:
        fields = Fields(read_json(file, CheckpointError), file, CheckpointError)
        return fields.integer("step", 0, 1 << 60)
    except CheckpointError as error:
        raise CheckpointError(f"{file} is damaged; {remedy} ({error})") from error
