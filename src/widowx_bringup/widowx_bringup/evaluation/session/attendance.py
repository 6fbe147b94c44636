"""What a plan says of sessions that a person attends: judge, start poses, scenes, words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.action_space import pose_from_proprio
from ptr_common.documents import Fields
from ptr_common.errors import PtrError
from ptr_common.files import sha256

CHECKER, PERSON = "checker", "person"
"""Who judges: the simulation, or a person."""

KEYS = ("judge", "starts", "placements", "tolerance", "reasons", "stages")
"""What a plan may say of it."""

REASONS = ("missed grasp", "dropped", "wrong place", "collision", "timeout", "other")
"""Reasons of a failure where the plan names none."""

STAGES = ("grasped", "lifted", "placed")
"""How far a trial came, in their order, where the plan names no stages."""

MOST_WORDS = 9
"""Most reasons and most stages: each has a digit."""

FIRST_STEPS = 10
"""Steps of a demonstration from which a start pose is drawn."""

OPEN = 0.5
"""Least opening of the gripper at the start; the arm opens it on its way there."""

Pose = tuple[float, ...]
"""x, y, z [m], roll, pitch, yaw [rad], gripper opening, as proprioception has them."""


class SessionError(PtrError):
    """A session cannot be carried out as asked."""


@dataclass(frozen=True)
class Placement:
    """How a scene is laid out by a person.

    Attributes:
        text: What stands where; empty without words.
        photo: Image of it; None without one. Where it lies is not part of the plan.
        sha256: Of that file; empty without one.
    """

    text: str = ""
    photo: Path | None = None
    sha256: str = ""

    @property
    def sentence(self) -> str:
        """What the operator is told."""
        photo = f"as in {self.photo}" if self.photo is not None else ""
        return ", ".join(part for part in (self.text, photo) if part)


@dataclass(frozen=True)
class Attendance:
    """Who judges the trials of a session, and how they begin.

    Attributes:
        judge: `CHECKER` or `PERSON`.
        starts: Start poses, which the scenes take in turn; empty: the arm's own, or that of
            the simulated scene.
        placements: Layouts, which the scenes take in turn; empty: the simulation draws them.
        position: Largest distance from the start pose at which a trial begins [m].
        rotation: Largest rotation from it [degrees].
        reasons: Of failures, to choose from.
        stages: Names of how far a trial came, in their order.
    """

    judge: str = CHECKER
    starts: tuple[Pose, ...] = ()
    placements: tuple[Placement, ...] = ()
    position: float = 0.01
    rotation: float = 3.0
    reasons: tuple[str, ...] = REASONS
    stages: tuple[str, ...] = STAGES

    @property
    def by_person(self) -> bool:
        """Whether a person judges."""
        return self.judge == PERSON

    def start(self, scene: int) -> Pose | None:
        """Return the start pose of a scene; None if the plan names none."""
        return self.starts[scene % len(self.starts)] if self.starts else None

    def placement(self, scene: int) -> Placement | None:
        """Return the layout of a scene; None if the plan names none."""
        return self.placements[scene % len(self.placements)] if self.placements else None

    def to_json(self) -> dict[str, Any]:
        """Return what the hash of the plan covers; nothing of a plan that says nothing of it."""
        if self == UNATTENDED:
            return {}
        placements = [{"text": each.text, "photo": each.sha256} for each in self.placements]
        return {
            "judge": self.judge,
            "starts": [list(pose) for pose in self.starts],
            "placements": placements,
            "tolerance": {"position": self.position, "rotation": self.rotation},
            "reasons": list(self.reasons),
            "stages": list(self.stages),
        }


UNATTENDED = Attendance()
"""Of a plan that says nothing of it."""


def read_attendance(fields: Fields, folder: Path, trials: int, seed: int) -> Attendance:
    """Return what the fields of a plan say of it.

    Args:
        fields: Of the plan.
        folder: Of the plan; relative paths begin there.
        trials: Scenes of the plan.
        seed: Of the plan.

    Raises:
        SessionError: If a value is impossible.
    """
    tolerance = fields.table("tolerance", {})
    tolerance.refuse_unknown(("position", "rotation"))
    return Attendance(
        judge=fields.text("judge", CHECKER, allowed=(CHECKER, PERSON)),
        starts=_starts(fields, folder, trials, seed),
        placements=_placements(fields, folder, trials),
        position=tolerance.number("position", 1e-4, 0.5, Attendance.position),
        rotation=tolerance.number("rotation", 0.1, 180.0, Attendance.rotation),
        reasons=_words(fields, "reasons", REASONS),
        stages=_words(fields, "stages", STAGES),
    )


def _words(fields: Fields, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the reasons or the stages, each of which a digit chooses."""
    words = fields.texts(name, default)
    if len(words) > MOST_WORDS or len(set(words)) < len(words) or not all(words):
        fields.refuse(name, f"at most {MOST_WORDS} different texts, none of them empty")
    return words


def _placements(fields: Fields, folder: Path, trials: int) -> tuple[Placement, ...]:
    if "placements" not in fields.values:
        return ()
    tables = fields.tables("placements")
    if not 1 <= len(tables) <= trials:
        fields.refuse("placements", f"1 to {trials} tables, one for each scene")
    return tuple(
        _placement(fields.inner(table, f"placements.{index}"), folder)
        for index, table in enumerate(tables)
    )


def _placement(fields: Fields, folder: Path) -> Placement:
    """Return one layout; its photo must be an image."""
    from ptr_common.images import ImageError, read_image

    fields.refuse_unknown(("text", "photo"))
    text, name = fields.text("text", "").strip(), fields.text("photo", "")
    if not (text or name):
        fields.refuse("text", "text or a photo (an image file) of the layout")
    if not name:
        return Placement(text)
    photo = folder / Path(name).expanduser()
    try:
        read_image(photo)
    except ImageError as error:
        fields.refuse("photo", f"an image file ({error})")
    return Placement(text, photo, sha256(photo))


# Start poses


def _starts(fields: Fields, folder: Path, trials: int, seed: int) -> tuple[Pose, ...]:
    """Return the poses of a plan, or those drawn from the demonstrations that it names."""
    given = fields.values.get("starts", [])
    if isinstance(given, str):
        poses = draw_starts(folder / Path(given).expanduser(), trials, seed)
    elif "starts" in fields.values:
        if not isinstance(given, list) or not 1 <= len(given) <= trials:
            fields.refuse(
                "starts",
                f"a folder of demonstrations, or 1 to {trials} poses, one for each scene",
            )
        table = fields.inner(
            {str(index): pose for index, pose in enumerate(given)}, "starts"
        )
        poses = tuple(table.numbers(name, 7) for name in table.values)
    else:
        return ()
    for index, pose in enumerate(poses):
        if problem := start_problem(pose):
            numbers = [round(value, 4) for value in pose]
            fields.refuse(
                "starts",
                f"poses that the arm can begin in: {problem} (pose {index}: {numbers})",
            )
    return poses


def start_problem(pose: Pose) -> str:
    """Return why no trial can begin in a pose; empty if one can."""
    from widowx_bringup.arm.kinematics import Kinematics
    from widowx_bringup.arm.limits import Limits, distance_outside
    from widowx_bringup.arm.refusal import Refusal

    if not OPEN <= pose[6] <= 1.0:
        return (
            f"its gripper is {pose[6]:g}, and the arm opens it on the way: "
            f"{OPEN:g} (half open) to 1"
        )
    limits = Limits()
    target = pose_from_proprio(np.asarray(pose[:6]))
    if distance_outside(target, limits) > 0.0:
        low, high = limits.workspace_low.tolist(), limits.workspace_high.tolist()
        return f"it is outside the workspace box {low} to {high} [m]"
    solution = Kinematics().inverse(target, np.zeros(6))
    return solution.text if isinstance(solution, Refusal) else ""


def draw_starts(folder: Path, count: int, seed: int) -> tuple[Pose, ...]:
    """Draw start poses from the first steps of demonstrations.

    Args:
        folder: Episode store of demonstrations that were held out.
        count: Number of poses.
        seed: Of the draw.

    Raises:
        PtrError: If it is no store, or no demonstration begins with an open gripper.
    """
    from ptr_training.data.store import EpisodeStore

    store = EpisodeStore.open(folder)
    rows: list[np.ndarray] = []
    for entry in store.entries:
        rows.append(np.arange(entry.start, entry.start + min(FIRST_STEPS, entry.length)))
    proprio = store.steps["proprio"][np.concatenate(rows)]
    candidates = proprio[proprio[:, 6] >= OPEN]
    if not len(candidates):
        raise SessionError(
            f"{folder}: the gripper is closed in the first {FIRST_STEPS} steps of every "
            "demonstration; a trial begins with an open one"
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, *b"starts"]))
    chosen = rng.choice(len(candidates), size=count, replace=count > len(candidates))
    rounded = np.round(candidates[chosen].astype(float), 6)
    rounded[:, 6] = np.minimum(rounded[:, 6], 1.0)
    return tuple(map(tuple, rounded.tolist()))
