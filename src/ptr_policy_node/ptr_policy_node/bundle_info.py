"""What a bundle says of its policy: camera, image, actions, rate and tasks.

`bundle.py` reads and writes it; `served/description.py` makes one of a policy that runs elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptr_common.action_space import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_NAMES,
    BASE_FRAME,
    PROPRIO_NAMES,
)
from ptr_common.documents import Fields
from ptr_common.errors import PtrError
from ptr_common.images import RESIZE_NAME

from .q_band import QBand

FORMAT_VERSION = 1
"""Version of the format, in `bundle.json`."""

GRIPPER_SENSE = "0 closed, 1 open"
"""Meaning of the action's last dimension."""

MAX_PIXELS = 16384
"""Largest height and width of an image [pixels]."""

MAX_WINDOW = 1000
"""Most observations that a policy sees, and most actions that it plans."""

REMEDY = "make the bundle again with `ptr bundle`, or copy it again"
"""What to do about a `bundle.json` with wrong values."""


class BundleError(PtrError):
    """A bundle is incomplete, altered, or does not fit this robot; the message names what."""


@dataclass(frozen=True)
class CameraSpec:
    """The camera that recorded the training data."""

    name: str
    width: int  # [pixels]
    height: int  # [pixels]


@dataclass(frozen=True)
class BundleInfo:
    """The description of a policy in `bundle.json`."""

    agent: str
    camera: CameraSpec
    image_height: int  # of the network's image [pixels]
    image_width: int  # [pixels]
    rate: float  # [Hz]
    tasks: tuple[str, ...]  # position = task id
    command: str  # commands of the training data: requested or executed
    data: Mapping[str, Any]  # training data with SHA-256
    checkpoint: Mapping[str, Any]  # run and step
    code_version: str
    resize: str = RESIZE_NAME
    action_names: tuple[str, ...] = ACTION_NAMES
    action_low: tuple[float, ...] = tuple(ACTION_LOW.tolist())
    action_high: tuple[float, ...] = tuple(ACTION_HIGH.tolist())
    frame: str = BASE_FRAME
    gripper: str = GRIPPER_SENSE
    proprio_names: tuple[str, ...] = PROPRIO_NAMES
    history: int = (
        1  # observations that the policy sees; the first of an episode is repeated
    )
    execute: int = 1  # actions of one prediction that are executed, one a control step
    draws_gripper: bool = (
        False  # a gripper of two values is drawn, not the likelier one taken
    )
    aliases: Mapping[str, str] = field(
        default_factory=dict
    )  # re-targeted tasks: new to known
    q_band: QBand | None = None  # of held-out demonstrations, where they were at hand

    def to_json(self) -> dict[str, Any]:
        """Return the contents of `bundle.json` without the hashes."""
        return {
            "format_version": FORMAT_VERSION,
            "agent": self.agent,
            "action": {
                "names": list(self.action_names),
                "low": list(self.action_low),
                "high": list(self.action_high),
                "frame": self.frame,
                "gripper": self.gripper,
                "command": self.command,
            },
            "proprio": list(self.proprio_names),
            "camera": {
                "name": self.camera.name,
                "width": self.camera.width,
                "height": self.camera.height,
            },
            "image": {
                "resize": self.resize,
                "height": self.image_height,
                "width": self.image_width,
            },
            "rate": self.rate,
            "tasks": list(self.tasks),
            "aliases": dict(self.aliases),
            "history": self.history,
            "execute": self.execute,
            "draws_gripper": self.draws_gripper,
            "q_band": self.q_band.to_json() if self.q_band else {},
            "data": dict(self.data),
            "checkpoint": dict(self.checkpoint),
            "code_version": self.code_version,
        }

    @classmethod
    def from_json(cls, values: Any, where: Path | str = "bundle.json") -> BundleInfo:
        """Return the description that `to_json` wrote.

        Args:
            values: Contents of `bundle.json`.
            where: The file, for messages.

        Raises:
            BundleError: If a value is missing or not of its kind; the message names it.
        """
        fields = Fields(values, where, BundleError, remedy=REMEDY)
        action, image, camera = (
            fields.table(name) for name in ("action", "image", "camera")
        )
        info = cls(
            agent=fields.text("agent", filled=True),
            camera=CameraSpec(
                camera.text("name", filled=True),
                camera.integer("width", 1, MAX_PIXELS),
                camera.integer("height", 1, MAX_PIXELS),
            ),
            image_height=image.integer("height", 1, MAX_PIXELS),
            image_width=image.integer("width", 1, MAX_PIXELS),
            resize=image.text("resize"),
            rate=fields.number("rate", 0.01, 1000.0),
            tasks=fields.texts("tasks"),
            command=action.text("command", allowed=("requested", "executed")),
            data=fields.table("data").values,
            checkpoint=fields.table("checkpoint").values,
            code_version=fields.text("code_version"),
            action_names=action.texts("names"),
            action_low=action.numbers("low", len(ACTION_NAMES)),
            action_high=action.numbers("high", len(ACTION_NAMES)),
            frame=action.text("frame"),
            gripper=action.text("gripper"),
            proprio_names=fields.texts("proprio"),
            history=fields.integer("history", 1, MAX_WINDOW, 1),
            execute=fields.integer("execute", 1, MAX_WINDOW, 1),
            draws_gripper=fields.flag("draws_gripper", False),
            aliases=fields.table("aliases", {}).values,
            q_band=QBand.from_json(fields.table("q_band", {})),
        )
        info._check_tasks(fields)
        return info

    def _check_tasks(self, fields: Fields) -> None:
        """Refuse tasks without a name or with that of another, and aliases of no task."""
        if not self.tasks or not all(self.tasks) or len(set(self.tasks)) < len(self.tasks):
            fields.refuse("tasks", "different names, at least one")
        for name, target in self.aliases.items():
            if not name or target not in self.tasks:
                fields.refuse("aliases", f"names that stand for one of {list(self.tasks)}")

    @property
    def window(self) -> tuple[int, ...]:
        """The leading dimension of images and proprio: (T,) with a history, () without."""
        return (self.history,) if self.history > 1 else ()

    @property
    def plan(self) -> tuple[int, ...]:
        """The leading dimension of actions: (E,) where several are executed, () otherwise."""
        return (self.execute,) if self.execute > 1 else ()
