"""How far a session is, without saying what must not be known yet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from widowx_bringup.console.session_progress import SessionProgress, progress
from widowx_bringup.evaluation.session import journal
from widowx_bringup.evaluation.session.plan import SessionError, SessionPlan
from widowx_bringup.evaluation.session.session import Session, unblind

TASK = "put the yellow cube on the white plate"
PLAN = SessionPlan(
    name="p", task=TASK, methods={"old": "a" * 64, "new": "b" * 64}, bundles={}, trials=2,
    seed=1, time_limit=10.0, blind=True,
)  # fmt: skip


def run_trials(folder: Path, successes: list[bool]) -> None:
    """Run the next trials of the plan."""
    with Session(PLAN, folder) as session:
        for trial, success in zip(session.missing(), successes, strict=False):
            session.start(trial)
            session.end(trial, replace(session.planned(trial), success=success))


def test_a_blind_session_shows_numbers_and_no_results(tmp_path: Path) -> None:
    run_trials(tmp_path, [True, False, True])
    seen = progress(tmp_path)
    assert (seen["done"], seen["planned"], seen["void"]) == (3, 4, 0)
    assert seen["blind"]
    assert "results" not in seen
    assert "old" not in json.dumps(seen)


def test_the_trial_that_runs_is_named_by_its_code(tmp_path: Path) -> None:
    with Session(PLAN, tmp_path) as session:
        trial = session.missing()[0]
        session.start(trial)
        seen = progress(tmp_path)
        assert seen["pending"] == trial.number
        assert seen["code"] == session.codes[trial.method] in "AB"


def test_a_void_trial_is_counted_apart(tmp_path: Path) -> None:
    with Session(PLAN, tmp_path) as session:
        session.start(session.missing()[0])
    run_trials(tmp_path, [True])
    seen = progress(tmp_path)
    assert (seen["done"], seen["void"]) == (1, 1)


def test_an_unblinded_session_shows_the_results(tmp_path: Path) -> None:
    run_trials(tmp_path, [True, True, True, True])
    unblind(tmp_path)
    seen = progress(tmp_path)
    assert not seen["blind"]
    assert seen["results"] == {"new": [2, 2], "old": [2, 2]}


def test_a_session_that_has_not_begun_or_was_changed_is_a_sentence(tmp_path: Path) -> None:
    assert "holds no session" in SessionProgress(tmp_path / "none").view()["problem"]
    run_trials(tmp_path, [True, True])
    file = tmp_path / journal.FILE
    text = file.read_text()
    file.write_text(text.replace('"success": true', '"success": false', 1))
    with pytest.raises(SessionError, match="damaged, or was changed"):
        progress(tmp_path)
    view = SessionProgress(tmp_path).view()
    assert view["blind"]
    assert "damaged" in view["problem"]
