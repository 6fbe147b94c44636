"""A second rater of a session: blinded, resumable, and compared with the judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.session import running
from widowx_bringup.evaluation.session.main import main
from widowx_bringup.evaluation.session.plan import SessionError, Trial, load_plan
from widowx_bringup.evaluation.session.rating import (
    agreement,
    disagreements,
    rate,
    ratings_text,
    read_ratings,
)
from widowx_bringup.evaluation.session.session import Session, load_state, unblind
from widowx_bringup.sim.tasks import TARGET_TASK


class Scripted:
    """Runs trials by saying how they end: `ptr` succeeds; the first try of all is void."""

    void = True

    def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list]:
        aborted, self.void = self.void, False
        won = trial.method == "ptr"
        return replace(planned, success=won, aborted=aborted, reason="seen"), []


@pytest.fixture
def folder(bundles: Path, tmp_path: Path) -> Path:
    """A session of six trials that are done."""
    file = bundles / "rated.yaml"
    values = {"task": TARGET_TASK, "methods": {"ptr": "ptr", "bc": "bc"}, "trials": 3}
    file.write_text(yaml.safe_dump(values))
    with Session(load_plan(file), tmp_path) as session:
        running.run_trials(session, Scripted())
    return tmp_path


def answers(given: list[str], asked: list[str]) -> Callable[[str], str]:
    """Return a rater that gives these answers and then ends; questions are put into `asked`."""
    left = iter(given)

    def ask(question: str) -> str:
        asked.append(question)
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask


def test_a_rater_goes_on_where_the_last_answer_was(folder: Path) -> None:
    asked: list[str] = []
    assert rate(folder, "anna", answers(["s", "f", "1", "2"], asked)) == 2
    assert rate(folder, "anna", answers(["x", "f", "9", "2", "0", "q"], asked)) == 3
    assert "one of s, f, or q" in asked[6]
    file = folder / "ratings_anna.jsonl"
    file.write_bytes(file.read_bytes() + b'{"trial": 1, "succ')  # a crash
    assert rate(folder, "anna", answers(["s"] * 6, asked)) == 6
    ratings = read_ratings(file, load_state(folder))
    assert sorted(ratings) == list(range(6))
    failed = [rating for rating in ratings.values() if not rating.success]
    assert [(one.reason, one.stage) for one in failed] == [
        ("missed grasp", "lifted"),
        ("dropped", ""),
    ]
    assert all(one.stage == "placed" for one in ratings.values() if one.success)
    assert rate(folder, "anna", answers([], asked)) == 6


def test_a_rater_sees_neither_methods_nor_verdicts(folder: Path) -> None:
    asked: list[str] = []
    rate(folder, "anna", answers(["s"] * 6, asked))
    for question in asked:
        assert question.startswith("trial ")
        assert "strips/trial_000" in question
        for word in ("ptr", "bc", "seen", "True", "method"):
            assert word not in question.removeprefix(f"trial {question[6]}: {folder}")


def test_the_order_is_drawn_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = set()
    for rater in "abcdefgh":
        asked: list[str] = []
        rate(folder, rater, answers(["s"] * 6, asked))
        orders.add(tuple(question[6] for question in asked))
    assert len(orders) > 1


def write_ratings(folder: Path, **verdicts: bool) -> Path:
    file = folder / "ratings_anna.jsonl"
    lines = [
        json.dumps({"trial": int(name[1:]), "success": won, "reason": "dropped"})
        for name, won in verdicts.items()
    ]
    file.write_text("\n".join([*lines, ""]))
    return file


def test_agreement_is_told_and_disagreements_only_after_unblinding(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_state(folder)
    judged = {f"_{number}": row.success for number, row in state.counted.items()}
    ratings = read_ratings(
        write_ratings(folder, **judged | {"_0": not judged["_0"]}), state
    )
    found = agreement(state, ratings)
    assert (found.alike, found.trials) == (5, 6)
    assert found.kappa == pytest.approx(2 / 3)
    main(["status", str(folder)])
    told = capsys.readouterr().out
    assert "rater anna: as the judge in 5 of 6 trials (44% … 97%), kappa 0.67" in told
    assert "  trial 0" not in told
    assert main(["unblind", str(folder)]) == 0
    told = capsys.readouterr().out
    (where,) = disagreements(load_state(folder), ratings)
    assert where["method"] in ("ptr", "bc")
    assert f"trial 0 ({where['method']}, scene 0): judge " in told
    raters = json.loads((folder / "results.json").read_text())["about"]["raters"]
    assert raters[0]["rater"] == "anna"
    assert raters[0]["disagreements"] == [where]


def test_raters_that_say_one_thing_only_have_no_kappa(folder: Path) -> None:
    state = load_state(folder)
    won = {f"_{number}": True for number, row in state.counted.items() if row.success}
    write_ratings(folder, **won)
    assert "kappa is not defined" in ratings_text(folder, state)
    main(["unblind", str(folder)])
    raters = json.loads((folder / "results.json").read_text())["about"]["raters"]
    assert raters[0]["kappa"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"trial": 99, "success": true}',
            "rates trial 99, which is none of the session's 6",
        ),
        ('{"trial": 1}', "line 1 is incomplete: it lacks success"),
        ("nonsense", "line 1 is damaged"),
        ("[]", "line 1: the document is"),
    ],
)
def test_a_rating_of_an_unknown_trial_or_a_damaged_line_is_refused(
    folder: Path, line: str, message: str
) -> None:
    (folder / "ratings_anna.jsonl").write_text(f"{line}\n")
    with pytest.raises(SessionError, match=message):
        rate(folder, "anna", answers([], []))


def test_nothing_is_rated_under_a_wrong_name_or_after_unblinding(folder: Path) -> None:
    with pytest.raises(SessionError, match=r"--rater is '\.\./x'"):
        rate(folder, "../x", answers([], []))
    unblind(folder)
    with pytest.raises(SessionError, match="no longer be blind"):
        rate(folder, "anna", answers([], []))
