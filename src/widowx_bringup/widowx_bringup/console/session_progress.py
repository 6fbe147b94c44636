"""How far a session of `ptr session` is, read from its journal; nothing is written."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from ptr_common.errors import PtrError
from widowx_bringup.evaluation.session.codes import read_sealed
from widowx_bringup.evaluation.session.report.trials import plan_of
from widowx_bringup.evaluation.session.session import SessionState, load_state

PERIOD = 2.0
"""Time between two looks into the journal [s]."""


class SessionProgress:
    """A session as its operator may see it: codes, and results only once it is unblinded.

    Args:
        folder: Of the session; it need not have begun.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked = -PERIOD
        self._view: dict[str, Any] = {"problem": "not read yet"}

    def view(self) -> dict[str, Any]:
        """Return what the page shows."""
        now = time.monotonic()
        if now - self._looked >= PERIOD:
            self._looked = now
            try:
                self._view = progress(self._folder)
            except PtrError as error:
                self._view = {"problem": str(error), "blind": True}
        return self._view


def progress(folder: Path) -> dict[str, Any]:
    """Return how far a session is.

    Args:
        folder: Of the session.

    Returns:
        Numbers of trials; while methods must not be known, `blind` is true and there are no
        results.

    Raises:
        SessionError: If there is no session, or its journal was changed by hand.
    """
    state = load_state(folder)
    blind = bool(state.plan.get("blind", True)) and not state.unblinded
    values: dict[str, Any] = {
        "task": state.plan["task"],
        "planned": state.planned,
        "done": len(state.counted),
        "void": sum(row.aborted for _, row in state.trials),
        "pending": state.pending,
        "code": _running_code(state, folder),
        "blind": blind,
    }
    if state.unblinded:
        counted = [row for row in state.rollouts if not row.aborted]
        trials = Counter(row.method for row in counted)
        solved = Counter(row.method for row in counted if row.success)
        values["results"] = {name: [solved[name], trials[name]] for name in sorted(trials)}
    return values


def _running_code(state: SessionState, folder: Path) -> str:
    """Return the code of the method that runs now; empty between trials."""
    if state.pending is None:
        return ""
    sealed = read_sealed(folder, state.seal)
    return sealed.codes[plan_of(state).order(sealed.salt)[state.pending].method]
