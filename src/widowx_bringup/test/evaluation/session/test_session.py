"""Sessions: blinded trials, kills, and what the journal proves."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from session_plans import Scripted, write_plan

from widowx_bringup.evaluation.results import Rollout, read_results
from widowx_bringup.evaluation.session import codes, journal, running
from widowx_bringup.evaluation.session.journal import Journal, read_journal
from widowx_bringup.evaluation.session.main import anytime_text, main, power_text
from widowx_bringup.evaluation.session.plan import (
    SessionError,
    Trial,
    load_plan,
)
from widowx_bringup.evaluation.session.session import (
    INTERRUPTED,
    Session,
    load_state,
    unblind,
)

# Kills


def test_a_session_that_is_killed_anywhere_goes_on_at_that_trial(
    bundles: Path, tmp_path: Path
) -> None:
    plan = load_plan(write_plan(bundles))
    for die_at in range(6):
        folder = tmp_path / str(die_at)
        first, second = Scripted(die_at=die_at), Scripted()
        with pytest.raises(KeyboardInterrupt), Session(plan, folder) as session:
            running.run_trials(session, first)
        with Session(plan, folder) as session:
            assert session.state.trials[-1][1].reason == INTERRUPTED
            running.run_trials(session, second)
            state = session.state
            order = [(trial.number, trial.method) for trial in session.order]
        assert first.ran + second.ran == order
        assert sorted(state.counted) == list(range(len(order)))
        assert len(state.trials) == len(order) + 1


def test_a_torn_line_is_cut_off_and_its_trial_repeated(
    bundles: Path, tmp_path: Path
) -> None:
    plan = load_plan(write_plan(bundles))
    with Session(plan, tmp_path) as session:
        running.run_trials(session, Scripted())
    file = tmp_path / journal.FILE
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    assert len(read_journal(tmp_path)) == content.count(b"\n") - 1
    again = Scripted()
    with Session(plan, tmp_path) as session:
        running.run_trials(session, again)
        assert len(session.state.counted) == 6
    assert len(again.ran) == 1


def test_a_line_that_was_changed_is_found(bundles: Path, tmp_path: Path) -> None:
    plan = load_plan(write_plan(bundles))
    with Session(plan, tmp_path) as session:
        running.run_trials(session, Scripted())
    file = tmp_path / journal.FILE
    text = file.read_text()
    assert '"success": false' in text
    file.write_text(text.replace('"success": false', '"success": true', 1))
    with pytest.raises(SessionError, match="damaged, or was changed after it was written"):
        load_state(tmp_path)


def test_two_processes_do_not_run_one_session(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(SessionError, match="another process runs"):
        Journal(tmp_path)


def test_a_trial_that_ends_outside_the_policy_is_repeated(
    bundles: Path, tmp_path: Path
) -> None:
    class Flaky(Scripted):
        def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list]:
            done, images = super().run(trial, planned)
            return replace(done, aborted=len(self.ran) == 1, reason="camera"), images

    with Session(load_plan(write_plan(bundles)), tmp_path) as session:
        running.run_trials(session, Flaky())
        state = session.state
    assert [row.aborted for _, row in state.trials] == [True] + [False] * 6
    assert len(state.counted) == 6


def test_a_trial_that_never_works_ends_the_run(bundles: Path, tmp_path: Path) -> None:
    class Broken(Scripted):
        def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list]:
            return replace(planned, aborted=True, reason="no camera"), []

    with (
        Session(load_plan(write_plan(bundles)), tmp_path) as session,
        pytest.raises(SessionError, match=r"trial 0 was repeated 2 times.*no camera"),
    ):
        running.run_trials(session, Broken())


# Full disks and wrong clocks


def test_on_a_full_disk_nothing_counts_and_the_trial_is_repeated(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses to let the journal grow, in the middle of the line of a trial."""

    class Filling(Scripted):
        def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list]:
            if len(self.ran) == 2:
                size = (tmp_path / journal.FILE).stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, limits[1]))
            return super().run(trial, planned)

    plan, limits = load_plan(write_plan(bundles)), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="File too large"), Session(plan, tmp_path) as cut:
            running.run_trials(cut, Filling())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(load_state(tmp_path).counted) == [0, 1]
    again = Scripted()
    with Session(plan, tmp_path) as session:
        running.run_trials(session, again)
        assert sorted(session.state.counted) == list(range(6))
    assert [number for number, _ in again.ran] == [2, 3, 4, 5]


def test_a_clock_that_is_set_back_changes_no_order(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards(datetime):
        hour = 23

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            cls.hour -= 1
            return datetime(2026, 1, 1, cls.hour, tzinfo=timezone.utc)

    monkeypatch.setattr(journal, "datetime", Backwards)
    plan = load_plan(write_plan(bundles))
    with Session(plan, tmp_path) as session:
        running.run_trials(session, Scripted())
    state = load_state(tmp_path)
    assert [number for number, _ in state.trials] == list(range(6))
    stamps = [line["at"] for line in read_journal(tmp_path)]
    assert stamps == sorted(stamps, reverse=True)
    with Session(plan, tmp_path) as session:
        assert session.missing() == []


# What a person said


def test_what_a_person_judged_stands_beside_the_result_and_comes_back(
    bundles: Path, tmp_path: Path
) -> None:
    class Judged(Scripted):
        def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list]:
            values = {"judge": "person", "stage": "lifted", "reason": "dropped"}
            return (
                replace(planned, residual_position=0.001, residual_rotation=0.5, **values),
                [],
            )

    with Session(load_plan(write_plan(bundles)), tmp_path) as session:
        running.run_trials(session, Judged())
        rows = session.state.rollouts
    line = read_journal(tmp_path)[2]
    assert line["residual"] == {"position": 0.001, "rotation": 0.5}
    assert (line["judge"], line["stage"], line["reason"]) == ("person", "lifted", "dropped")
    assert (rows[0].judge, rows[0].stage) == ("person", "lifted")
    assert rows[0].residual_rotation == 0.5


def test_a_journal_of_before_is_read_and_one_without_a_person_looks_like_it(
    bundles: Path, tmp_path: Path
) -> None:
    with Session(load_plan(write_plan(bundles)), tmp_path) as session:
        running.run_trials(session, Scripted())
    for line in read_journal(tmp_path):
        if line["event"] == journal.TRIAL:
            assert set(line) == {"event", "at", "trial", "result", "previous"}
            assert list(line["result"])[-1] == "score"
    assert load_state(tmp_path).rollouts[0].judge == ""


# The lock, and blinding


def test_the_plan_is_locked_once_it_has_begun(bundles: Path, tmp_path: Path) -> None:
    Session(load_plan(write_plan(bundles)), tmp_path).journal.close()
    changed = load_plan(write_plan(bundles, trials=4))
    with pytest.raises(
        SessionError, match="locked to another plan: trials was 3, asked for is 4"
    ):
        Session(changed, tmp_path)


def test_no_name_of_a_method_is_seen_before_the_end(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = load_plan(write_plan(bundles, methods={"ours": "ptr", "theirs": "bc"}))
    with Session(plan, tmp_path) as session:
        running.run_trials(session, Scripted())
    main(["status", str(tmp_path)])
    shown = capsys.readouterr().out
    trials = [line for line in read_journal(tmp_path) if line["event"] == journal.TRIAL]
    for name in ("ours", "theirs"):
        assert name not in shown
        assert name not in json.dumps(trials)
    assert {line["result"]["method"] for line in trials} == {"A", "B"}
    assert main(["unblind", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "unblinded" in shown
    assert "ours" in shown
    assert {row.method for row in read_results(tmp_path)} == {"ours", "theirs"}


def test_the_codes_are_those_that_were_sealed(bundles: Path, tmp_path: Path) -> None:
    Session(load_plan(write_plan(bundles)), tmp_path).journal.close()
    file = tmp_path / codes.FILE
    values = json.loads(file.read_text())
    names = list(values["codes"])
    values["codes"] = dict(zip(names, reversed(values["codes"].values()), strict=True))
    file.write_text(json.dumps(values))
    with pytest.raises(SessionError, match="is not what was sealed"):
        unblind(tmp_path, "I want to know")


def test_unblinding_ends_the_session_and_is_written_down(
    bundles: Path, tmp_path: Path
) -> None:
    plan = load_plan(write_plan(bundles))
    with Session(plan, tmp_path) as session:
        session.start(session.missing()[0])
    with pytest.raises(SessionError, match="0 of 6 trials are done"):
        unblind(tmp_path)
    assert set(unblind(tmp_path, "the arm is needed elsewhere").unblinded) == {"ptr", "bc"}
    last = read_journal(tmp_path)[-1]
    assert (last["event"], last["early"]) == ("unblinded", "the arm is needed elsewhere")
    with pytest.raises(SessionError, match="was unblinded: no further trial"):
        Session(plan, tmp_path)


def test_a_folder_without_a_session_is_named(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="holds no session"):
        load_state(tmp_path)


# What is told before and while it runs


def test_the_power_is_told_for_the_scenes_of_the_plan() -> None:
    # fieldtrial 0.3.0: 0.095, 0.582 and 0.906
    assert "of 15 points in 10%, of 35 points in 58%, of 55 points in 91%" in power_text(20)
    assert "of 15 points in 0%" in power_text(1)


def test_scenes_that_both_methods_met_may_be_looked_at_at_any_time(
    bundles: Path, tmp_path: Path
) -> None:
    plan = load_plan(write_plan(bundles, trials=12, blind=False))
    with Session(plan, tmp_path) as session:
        assert anytime_text(session.state) == ""
        running.run_trials(session, Scripted())
        text = anytime_text(session.state)
    assert text.startswith("looked at after every scene: ")
    assert text.endswith("trials may end here")  # ptr solves every scene, bc none


# A genuine one, without ROS


def test_a_session_without_ros_is_run_unblinded_and_told(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [
        "run",
        str(write_plan(bundles, trials=2)),
        "--out",
        str(out),
        "--in-process",
    ]
    assert main(arguments) == 0
    assert "4 of 4 trials done, 0 void" in capsys.readouterr().out
    assert len(list((out / "strips").glob("trial_*.jpg"))) == 4
    assert main(arguments) == 0  # nothing is left to do
    assert main(["unblind", str(out)]) == 0
    assert "ptr against bc" in capsys.readouterr().out.replace(
        "bc against ptr", "ptr against bc"
    )
    assert len(read_results(out)) == 4
