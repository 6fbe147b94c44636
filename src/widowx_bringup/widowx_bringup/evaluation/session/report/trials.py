"""The trials of a session as its report shows them: by scene and method, with what is void."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.session import journal
from widowx_bringup.evaluation.session.journal import read_journal
from widowx_bringup.evaluation.session.plan import SessionPlan
from widowx_bringup.evaluation.session.session import SessionState, read_state

SIMULATOR = "the simulator"
"""Who judges where no line of the journal names anybody."""


@dataclass(frozen=True)
class Told:
    """A try of a trial: its line in the journal.

    Attributes:
        number: Of the trial.
        row: Its outcome, by the name or the code of its method.
        at: When it ended.
        line: The whole line; a person who judges leaves `judge`, `stage` and `residual` there.
    """

    number: int
    row: Rollout
    at: str
    line: Mapping[str, Any]

    @property
    def state(self) -> str:
        """`solved`, `failed` or `void`."""
        if self.row.aborted:
            return "void"
        return "solved" if self.row.success else "failed"

    @property
    def reason(self) -> str:
        """Why it ended."""
        return str(self.line.get("reason") or self.row.reason)

    @property
    def judge(self) -> str:
        """Who judged it."""
        return str(self.line.get("judge") or SIMULATOR)

    @property
    def stage(self) -> str:
        """How far it came, in the judge's words; empty if nobody said."""
        return str(self.line.get("stage") or "")

    @property
    def residual(self) -> str:
        """Distance and rotation from where the arm should have begun; empty if not measured."""
        told = self.line.get("residual") or {}
        if told.get("position") is None or told.get("rotation") is None:
            return ""
        return f"{1e3 * told['position']:.0f} mm, {told['rotation']:.1f}°"


@dataclass(frozen=True)
class Cell:
    """A method on a scene.

    Attributes:
        counted: The try that counts; None if there is none yet.
        void: How many do not count.
    """

    counted: Told | None = None
    void: int = 0


@dataclass(frozen=True)
class SessionTold:
    """A session as its journal tells it.

    Attributes:
        folder: Of the session.
        state: What the journal says.
        begun: Its first line.
        tries: Every try that ended, in order.
        methods: Names of the methods in the plan's order, or their codes.
        ended: When the last line was written.
    """

    folder: Path
    state: SessionState
    begun: Mapping[str, Any]
    tries: list[Told]
    methods: list[str]
    ended: str
    early: str = ""  # why it was unblinded before all trials were done
    blinded: bool = field(default=False)

    @property
    def name(self) -> str:
        """Name of the session."""
        return str(self.state.plan["name"])

    @property
    def began(self) -> str:
        """When its first line was written."""
        return _readable(self.begun["at"])

    @property
    def rollouts(self) -> list[Rollout]:
        """Every try by method, in the plan's order of methods, and then in the order of time."""
        rows = [told.row for told in self.tries]
        return sorted(rows, key=lambda row: self.methods.index(row.method))

    @property
    def counted(self) -> list[Told]:
        """The tries that count."""
        return [told for told in self.tries if not told.row.aborted]

    @property
    def void(self) -> list[Told]:
        """The tries that do not count."""
        return [told for told in self.tries if told.row.aborted]

    @property
    def judges(self) -> list[str]:
        """Who judged the trials that count, with their number."""
        found = Counter(told.judge for told in self.counted)
        return [f"{judge} ({count})" for judge, count in found.items()]

    def reasons(self) -> dict[str, dict[str, int]]:
        """Return how often each method failed for each reason, the most frequent first."""
        failed = [told for told in self.counted if told.state == "failed"]
        frequent = Counter(told.reason for told in failed)
        found: dict[str, dict[str, int]] = {}
        for reason, _ in frequent.most_common():
            of = Counter(told.row.method for told in failed if told.reason == reason)
            found[reason] = {method: of[method] for method in self.methods}
        return found

    def scenes(self) -> dict[int, dict[str, Cell]]:
        """Return the cell of each method by scene, for the scenes with a try."""
        found: dict[int, dict[str, Cell]] = {}
        for told in self.tries:
            row = found.setdefault(told.row.rollout, dict.fromkeys(self.methods, Cell()))
            before = row[told.row.method]
            row[told.row.method] = (
                replace(before, void=before.void + 1)
                if told.row.aborted
                else replace(before, counted=told)
            )
        return dict(sorted(found.items()))

    def order(self) -> dict[int, list[str]]:
        """Return in which order the methods met each scene, as far as they did."""
        found: dict[int, list[str]] = {}
        for told in sorted(self.counted, key=lambda told: told.number):
            found.setdefault(told.row.rollout, []).append(told.row.method)
        return found


def read_told(folder: Path) -> SessionTold:
    """Return a session as its journal tells it; another process may run it.

    Raises:
        SessionError: If it is no session, or its journal was changed.
    """
    lines = read_journal(folder)
    state = read_state(lines, folder)
    names = {code: method for method, code in state.unblinded.items()}
    tries = []
    ended = [line for line in lines if line["event"] == journal.TRIAL]
    for (number, row), line in zip(state.trials, ended, strict=True):
        named = replace(row, method=names.get(row.method, row.method))
        tries.append(Told(number, named, _readable(line["at"]), line))
    blinded = bool(state.plan["blind"]) and not state.unblinded
    unblinding = [line for line in lines if line["event"] == journal.UNBLINDED]
    return SessionTold(
        folder=folder,
        state=state,
        begun=lines[0],
        tries=tries,
        methods=_methods(state, tries, blinded=blinded),
        ended=_readable(lines[-1]["at"]),
        early=unblinding[-1].get("early", "") if unblinding else "",
        blinded=blinded,
    )


def _readable(at: str) -> str:
    """Return a time of the journal (ISO 8601) for people."""
    return at.replace("T", " ").replace("+00:00", " UTC")


def _methods(state: SessionState, tries: Sequence[Told], *, blinded: bool) -> list[str]:
    """Return the methods in the plan's order, or the codes that occurred."""
    if not blinded:
        return list(state.plan["methods"])
    return sorted({told.row.method for told in tries})


def plan_of(state: SessionState) -> SessionPlan:
    """Return the locked plan, without the folders of its bundles."""
    known = {item.name for item in fields(SessionPlan)} & set(state.plan)
    return SessionPlan(**{name: state.plan[name] for name in known}, bundles={})
