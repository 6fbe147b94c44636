"""The plan of a session: what is compared, how often, in which order; locked by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.arguments import MAX_SEED
from ptr_common.documents import Fields, read_yaml
from ptr_common.files import sha256
from ptr_common.names import clean_task, find_task
from widowx_bringup.sim.camera_shift import RISE, TURN, CameraShift
from widowx_bringup.sim.tasks import TASKS, parse_task

from . import attendance
from .attendance import UNATTENDED, Attendance, SessionError

KEYS = (
    *("name", "task", "methods", "trials", "seed", "time_limit", "blind", "camera"),
    *attendance.KEYS,
)
"""What a plan may say."""

CAMERA_KEYS = ("rise", "turn")
"""What a plan may say of the simulated camera."""

TIME_LIMIT = 10.0
"""Longest trial of a task that the simulation does not have, where the plan names none [s]."""

MAX_METHODS = 8
MAX_TRIALS = 1000


@dataclass(frozen=True)
class Trial:
    """One planned trial: a method on a start scene."""

    number: int  # in the order in which they are run, from 0
    scene: int  # all methods meet each scene once, one after the other
    layout_seed: int
    method: str


@dataclass(frozen=True)
class SessionPlan:
    """What a session compares.

    Attributes:
        name: Of the session.
        task: Name of the task.
        methods: Full name (SHA-256) of each method's bundle, by the method's name.
        bundles: Folder of each method's bundle; where it lies is not part of the plan.
        trials: Trials of each method; as many scenes.
        seed: Of the scenes and of the order.
        time_limit: Longest trial [s].
        blind: Whether methods have codes until the session is unblinded.
        camera_rise: Of the simulated camera [m].
        camera_turn: Of the simulated camera about the table [degrees].
        attendance: Who judges the trials, and how they begin.
    """

    name: str
    task: str
    methods: dict[str, str]
    bundles: dict[str, Path]
    trials: int
    seed: int
    time_limit: float
    blind: bool
    camera_rise: float = 0.0
    camera_turn: float = 0.0
    attendance: Attendance = UNATTENDED

    @property
    def max_steps(self) -> int:
        """Longest trial [control steps]."""
        return round(self.time_limit * CONTROL_RATE)

    @property
    def camera_shift(self) -> CameraShift:
        """Where the simulated camera stands, relative to where it usually does."""
        return CameraShift(self.camera_rise, self.camera_turn)

    def to_json(self) -> dict[str, Any]:
        """Return what the hash covers: all but where bundles and photos lie."""
        values = asdict(replace(self, bundles={}, attendance=UNATTENDED))
        del values["bundles"], values["attendance"]
        return values | self.attendance.to_json()

    @property
    def sha256(self) -> str:
        """The hash that locks the plan, 64 hexadecimal digits."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def order(self, salt: str) -> list[Trial]:
        """Return all trials in their order: paired, and randomised in blocks.

        All methods meet a scene before the next scene comes. In a block of as many scenes as
        there are methods, each method is once first, once second, and so on.

        Args:
            salt: Of the sealed codes. Without it, whoever has the plan of a blinded session
                could compute which method a trial has.
        """
        scenes, order = np.random.SeedSequence([self.seed, *self.task.encode()]).spawn(2)
        if self.blind:
            order = np.random.SeedSequence([self.seed, *salt.encode()])
        rng = np.random.default_rng(order)
        methods = sorted(self.methods)  # the hash does not depend on their order either
        trials: list[Trial] = []
        block: list[list[str]] = []
        for scene, child in enumerate(scenes.spawn(self.trials)):
            block = block or _latin_square(methods, rng)
            layout_seed = int(child.generate_state(1)[0])
            for method in block.pop():
                trials.append(Trial(len(trials), scene, layout_seed, method))
        return trials


def _latin_square(methods: Sequence[str], rng: np.random.Generator) -> list[list[str]]:
    """Return orders in which each method stands once in each place."""
    names = list(rng.permutation(np.array(methods, dtype=object)))
    rows = [names[shift:] + names[:shift] for shift in range(len(names))]
    return [rows[index] for index in rng.permutation(len(rows))]


def load_plan(file: Path) -> SessionPlan:
    """Read a plan from YAML; relative paths of bundles begin at the plan's folder.

    Raises:
        SessionError: If it is no plan; the message names the value and those allowed.
    """
    fields = Fields(read_yaml(file, SessionError), file, SessionError)
    fields.refuse_unknown(KEYS)
    trials = fields.integer("trials", 1, MAX_TRIALS, 20)
    seed = fields.integer("seed", 0, MAX_SEED, 0)
    attended = attendance.read_attendance(fields, file.parent, trials, seed)
    task, time_limit = _task(fields, simulated=not attended.by_person)
    bundles = {}
    given = fields.table("methods")
    if not 1 <= len(given.values) <= MAX_METHODS:
        raise SessionError(
            f"{file}: methods has {len(given.values)} entries; expected 1 to {MAX_METHODS}, "
            "each `NAME: BUNDLE`"
        )
    for name in given.values:
        bundles[name] = file.parent / Path(given.text(name, filled=True)).expanduser()
    camera = fields.table("camera", {})
    camera.refuse_unknown(CAMERA_KEYS)
    shift = CameraShift(
        camera.number("rise", *RISE, 0.0), camera.number("turn", *TURN, 0.0)
    )
    return SessionPlan(
        name=fields.text("name", file.stem, filled=True),
        task=task,
        methods={name: _bundle_hash(file, name, path) for name, path in bundles.items()},
        bundles=bundles,
        trials=trials,
        seed=seed,
        time_limit=fields.number("time_limit", 1.0, 600.0, time_limit),
        blind=fields.flag("blind", True),
        camera_rise=shift.rise,
        camera_turn=shift.turn,
        attendance=attended,
    )


def _task(fields: Fields, *, simulated: bool) -> tuple[str, float]:
    """Return the name of the task, and its usual longest trial [s].

    Args:
        fields: Of the plan.
        simulated: Whether only tasks of the simulation will do.
    """
    name = clean_task(fields.text("task", filled=True))
    known = find_task(name, TASKS)
    if known is None and not simulated:
        return name, TIME_LIMIT
    task = parse_task(known or name)
    return task.name, task.rollout_steps / CONTROL_RATE


def _bundle_hash(file: Path, name: str, bundle: Path) -> str:
    """Return the full name of a bundle."""
    from ptr_policy_node.bundle import description_file

    description = description_file(bundle)
    if not description.is_file():
        raise SessionError(
            f"{file}: methods.{name} is {bundle}, which is no bundle (it has no bundle.json); "
            "`ptr bundle` makes one"
        )
    return sha256(description)
