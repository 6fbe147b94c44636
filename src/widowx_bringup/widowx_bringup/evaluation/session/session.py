"""A session on disk: its locked plan, what was run of it, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ptr_common.versions import versions
from widowx_bringup.evaluation.results import Rollout, planned_rollout

from . import codes, journal
from .journal import Journal, read_journal
from .plan import SessionError, SessionPlan, Trial

INTERRUPTED = "the session was stopped in the middle of it"
"""Reason of a trial that began and did not end."""


@dataclass(frozen=True)
class SessionState:
    """What a journal says.

    Attributes:
        plan: The locked plan, as `SessionPlan.to_json` has it.
        plan_sha256: Its hash.
        seal: What proves the codes, see `codes.seal`.
        trials: Number and outcome of every trial that ended, in order; its method is a code,
            and one that does not count is aborted.
        pending: Number of a trial that began and has not ended; None if there is none.
        unblinded: The code of each method once the session is unblinded; empty before.
    """

    plan: dict[str, Any]
    plan_sha256: str
    seal: str
    trials: list[tuple[int, Rollout]]
    pending: int | None
    unblinded: dict[str, str]

    @property
    def counted(self) -> dict[int, Rollout]:
        """The trials that count, by their number."""
        return {number: row for number, row in self.trials if not row.aborted}

    @property
    def rollouts(self) -> list[Rollout]:
        """Every trial that ended, by the names of the methods once they are known."""
        names = {code: method for method, code in self.unblinded.items()}
        return [
            replace(row, method=names.get(row.method, row.method)) for _, row in self.trials
        ]

    @property
    def planned(self) -> int:
        """How many trials the plan has, of all methods together."""
        return int(self.plan["trials"]) * len(self.plan["methods"])


def read_state(lines: Sequence[dict[str, Any]], folder: Path) -> SessionState:
    """Return what the lines of a journal say.

    Raises:
        SessionError: If they are no session, or a trial counts twice.
    """
    if not lines or lines[0]["event"] != journal.BEGUN:
        raise SessionError(f"{folder} holds a journal without a beginning")
    begun = lines[0]
    trials: list[tuple[int, Rollout]] = []
    counted: set[int] = set()
    pending, unblinded = None, {}
    for line in lines[1:]:
        if line["event"] == journal.STARTED:
            pending = int(line["trial"])
        elif line["event"] == journal.TRIAL:
            number, row, pending = int(line["trial"]), _rollout(line), None
            if not row.aborted and number in counted:
                raise SessionError(f"{folder}: trial {number} counts twice")
            if not row.aborted:
                counted.add(number)
            trials.append((number, row))
        elif line["event"] == journal.UNBLINDED:
            unblinded = dict(line["codes"])
    sealed = (begun["plan"], begun["plan_sha256"], begun["seal"])
    return SessionState(*sealed, trials, pending, unblinded)


def _line_of(rollout: Rollout) -> dict[str, Any]:
    """Return what the line of a trial says of its outcome.

    What a person judged, and where the arm began, stands beside the result.
    """
    result = asdict(rollout)
    stage, judge = result.pop("stage"), result.pop("judge")
    position, rotation = result.pop("residual_position"), result.pop("residual_rotation")
    line: dict[str, Any] = {"result": result}
    if judge:
        line |= {
            "judge": judge,
            "reason": "" if rollout.success else rollout.reason,
            "stage": stage,
        }
    if position is not None:
        line["residual"] = {"position": position, "rotation": rotation}
    return line


def _rollout(line: dict[str, Any]) -> Rollout:
    """Return the outcome of a trial's line; what only a later version knows is left out."""
    known = {item.name for item in fields(Rollout)}
    residual = line.get("residual", {})
    values = {
        **line["result"],
        "judge": line.get("judge", ""),
        "stage": line.get("stage", ""),
        "residual_position": residual.get("position"),
        "residual_rotation": residual.get("rotation"),
    }
    return Rollout(**{name: value for name, value in values.items() if name in known})


class Session:
    """A session that this process runs.

    Args:
        plan: What it compares.
        folder: Where its results are; a session that was begun there goes on.

    Attributes:
        codes: Code of each method.
        order: All planned trials, in their order.

    Raises:
        SessionError: If another plan is locked there, another process runs it, or it was
            unblinded.
    """

    def __init__(self, plan: SessionPlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.journal = Journal(folder)
        try:
            self._begin_or_check()
            sealed = codes.read_sealed(folder, self.state.seal)
            self.codes, self.order = sealed.codes, plan.order(sealed.salt)
            self._void_pending()
        except BaseException:
            self.journal.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.journal.close()

    @property
    def state(self) -> SessionState:
        """What the journal says now."""
        return read_state(self.journal.lines, self.folder)

    def _begin_or_check(self) -> None:
        if not self.journal.lines:
            sealed = codes.seal(self.folder, list(self.plan.methods), blind=self.plan.blind)
            self.journal.add(
                journal.BEGUN,
                plan=self.plan.to_json(),
                plan_sha256=self.plan.sha256,
                seal=sealed,
                versions=versions(),
            )
            return
        state = self.state
        if state.plan_sha256 != self.plan.sha256:
            raise SessionError(
                f"{self.folder} is locked to another plan: {_differences(state.plan, self.plan)}; "
                "take that back, or choose another --out"
            )
        if state.unblinded:
            raise SessionError(
                f"{self.folder} was unblinded: no further trial may be added to it; "
                "choose another --out"
            )

    def _void_pending(self) -> None:
        """Write down that a trial which a crash cut off does not count."""
        if (number := self.state.pending) is not None:
            trial = self.order[number]
            void = replace(self.planned(trial), aborted=True, reason=INTERRUPTED, strip="")
            self.end(trial, void)

    def missing(self) -> list[Trial]:
        """Return the trials that do not count yet, in their order."""
        counted = self.state.counted
        return [trial for trial in self.order if trial.number not in counted]

    def planned(self, trial: Trial) -> Rollout:
        """Return a trial without its outcome, by its code."""
        code = self.codes[trial.method]
        strip = f"strips/trial_{trial.number:04d}.jpg"
        return planned_rollout(code, trial.scene, trial.layout_seed, self.plan.task, strip)

    def start(self, trial: Trial) -> None:
        """Write down that a trial begins."""
        self.journal.add(journal.STARTED, trial=trial.number)

    def end(self, trial: Trial, rollout: Rollout) -> None:
        """Write down how a trial ended; it is on disk when this returns."""
        self.journal.add(journal.TRIAL, trial=trial.number, **_line_of(rollout))


def unblind(folder: Path, reason: str = "") -> SessionState:
    """Say which method each code stands for; no trial can be added afterwards.

    Args:
        folder: Of the session.
        reason: Why it is unblinded before all trials are done; needed only then.

    Raises:
        SessionError: If trials are missing and no reason is given.
    """
    with Journal(folder) as written:
        state = read_state(written.lines, folder)
        if state.unblinded:
            return state
        if (done := len(state.counted)) < state.planned and not reason:
            raise SessionError(
                f"{folder}: {done} of {state.planned} trials are done; `ptr session run` goes on, "
                "or give a reason to end here: --early TEXT"
            )
        written.add(
            journal.UNBLINDED,
            codes=codes.read_sealed(folder, state.seal).codes,
            early=reason,
            trials=done,
        )
        return read_state(written.lines, folder)


def load_state(folder: Path) -> SessionState:
    """Return what the journal of a session says; another process may run it."""
    return read_state(read_journal(folder), folder)


def _differences(locked: dict[str, Any], plan: SessionPlan) -> str:
    """Return which values differ, and how."""
    found = []
    for name, value in plan.to_json().items():
        if locked.get(name) != value:
            found.append(f"{name} was {locked.get(name)!r}, asked for is {value!r}")
    return "; ".join(found)
