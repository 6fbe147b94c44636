"""The table of a session follows from its bags, and whatever differs is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("ptr_msgs", reason="ROS 2 is not installed")

from trial_bags import Recorded, rewrite_journal, write_trial_bag

from ptr_msgs.msg import EpisodeEvent
from widowx_bringup.evaluation.session import codes, journal
from widowx_bringup.evaluation.session.bag_names import new_name, trial_of
from widowx_bringup.evaluation.session.main import main
from widowx_bringup.evaluation.session.plan import SessionError, SessionPlan, Trial
from widowx_bringup.evaluation.session.report.check import check_session
from widowx_bringup.evaluation.session.running import run_trials
from widowx_bringup.evaluation.session.session import Session, load_state


def differences(folder: Path) -> list[str]:
    return check_session(folder).differences


def trials(plan: SessionPlan, folder: Path) -> list[Trial]:
    """Return the trials of a session in their order."""
    return plan.order(codes.read_sealed(folder, load_state(folder).seal).salt)


def rewrite(plan: SessionPlan, folder: Path, number: int, **changes: object) -> str:
    """Write the bag of a trial anew, with changes, and return its name."""
    trial = trials(plan, folder)[number]
    (old,) = (folder / "bags").glob(f"trial_{number:04d}_*")
    shutil.rmtree(old)
    values: dict = {
        "seed": trial.layout_seed,
        "task": plan.task,
        "bundle": plan.methods[trial.method][:12],
        "event": EpisodeEvent.SUCCESS if trial.method == "ptr" else EpisodeEvent.FAILURE,
    }
    write_trial_bag(folder / "bags", old.name, **(values | changes))
    return old.name


def test_the_table_follows_from_the_bags(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(recorded)]) == 0
    told = capsys.readouterr().out
    assert told == "4 of 4 trials: the table follows from the bags (1 void try left out)\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 5}, "its scene is that of seed 5, planned is"),
        ({"task": "stir"}, "its task is 'stir', planned is"),
        ({"bundle": "0" * 12}, "its policy is not the one bundle of the planned method"),
        ({"event": EpisodeEvent.STOP}, "its bag bags/trial_0003_1 does not count"),
    ],
)
def test_a_bag_of_something_else_is_named(
    plan: SessionPlan, folder: Path, changes: dict[str, object], message: str
) -> None:
    rewrite(plan, folder, 3, **changes)
    (line,) = differences(folder)
    assert line.startswith("trial 3")
    assert message in line


def test_another_verdict_is_a_difference(
    plan: SessionPlan, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solved = trials(plan, folder)[0].method == "ptr"
    event = EpisodeEvent.FAILURE if solved else EpisodeEvent.SUCCESS
    name = rewrite(plan, folder, 0, event=event)
    assert main(["check", str(folder)]) == 1
    told = f"trial 0 ({name}): success is {not solved} in the bag, {solved} in the journal"
    assert told in capsys.readouterr().out


def test_other_counts_are_differences(folder: Path) -> None:
    def change(line: dict) -> None:
        if line["event"] == journal.TRIAL and line["trial"] == 2:
            line["result"] |= {"steps": 9, "clipped": 0}

    rewrite_journal(folder, change)
    told = "\n".join(differences(folder))
    assert "trial 2 (trial_0002_1): steps is 4 in the bag, 9 in the journal" in told
    assert "trial 2 (trial_0002_1): clipped is 3 in the bag, 0 in the journal" in told


def test_a_verdict_after_the_end_of_a_bag_is_the_journals_alone(
    plan: SessionPlan, folder: Path
) -> None:
    rewrite(plan, folder, 0, event=EpisodeEvent.STOP)
    assert "does not count" in differences(folder)[0]

    def change(line: dict) -> None:
        if line["event"] == journal.TRIAL and line["trial"] == 0:
            line["judge"] = "person"

    rewrite_journal(folder, change)
    found = check_session(folder)
    assert found.differences == []
    assert "trial 0: judged after the bag had ended" in found.text


def test_a_bag_that_is_missing_or_cut_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "bags" / "trial_0000_1")
    (file,) = (folder / "bags" / "trial_0002_1").glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-200])
    told = "\n".join(differences(folder))
    assert "trial 0: its bag bags/trial_0000_1 is missing" in told
    assert "trial_0002_1_0.mcap is truncated" in told
    assert told.count("\n") == 1


def test_a_bag_with_a_changed_byte_is_named(folder: Path) -> None:
    (file,) = (folder / "bags" / "trial_0002_1").glob("*.mcap")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    (line,) = differences(folder)
    assert "trial_0002_1" in line


def test_a_bag_without_metadata_and_a_renamed_one_are_named(folder: Path) -> None:
    bags = folder / "bags"
    (bags / "trial_0000_1" / "metadata.yaml").unlink()
    (bags / "trial_0002_1").rename(bags / "trial_0002_2")
    told = "\n".join(differences(folder))
    assert "trial_0000_1 is no complete bag" in told
    assert "trial_0002_2 holds trial 2, try 1: it was renamed" in told


def test_a_try_that_the_journal_lacks_is_named(plan: SessionPlan, folder: Path) -> None:
    trial = trials(plan, folder)[0]
    write_trial_bag(
        folder / "bags",
        new_name(folder, 0),
        trial.layout_seed,
        plan.task,
        plan.methods[trial.method][:12],
        EpisodeEvent.SUCCESS,
    )
    found = check_session(folder)
    assert found.differences == ["trial 0: its bag bags/trial_0000_1 does not count"]
    (note,) = found.notes
    assert note.startswith("trial 0, try 1: it ended")


def test_a_trial_that_was_cut_off_after_its_bag_is_told_and_repeated(
    plan: SessionPlan, tmp_path: Path
) -> None:
    runner = Recorded(plan, tmp_path)
    with Session(plan, tmp_path) as session:
        trial = session.missing()[0]
        session.start(trial)
        runner.run(trial, session.planned(trial))  # and the power goes
    assert check_session(tmp_path).text.endswith(
        "0 of 4 trials: the table follows from the bags (1 void try left out)"
    )
    with Session(plan, tmp_path) as session:
        run_trials(session, runner)
    found = check_session(tmp_path)
    assert (found.counted, found.void, found.differences) == (4, 1, [])
    assert len(found.notes) == 1


def test_a_changed_plan_is_refused(folder: Path) -> None:
    def change(line: dict) -> None:
        if line["event"] == journal.BEGUN:
            line["plan"]["seed"] = 77

    rewrite_journal(folder, change)
    with pytest.raises(
        SessionError, match="the plan in the journal is not that of its hash"
    ):
        check_session(folder)


def test_changed_codes_are_refused(folder: Path) -> None:
    file = folder / codes.FILE
    values = json.loads(file.read_text())
    names = list(values["codes"])
    values["codes"] = dict(zip(names, reversed(values["codes"].values()), strict=True))
    file.write_text(json.dumps(values))
    with pytest.raises(SessionError, match="is not what was sealed"):
        check_session(folder)


def test_a_session_without_ros_has_nothing_to_check(
    plan: SessionPlan, tmp_path: Path
) -> None:
    class Bagless(Recorded):
        def run(self, trial, planned):  # type: ignore[no-untyped-def]
            done, images = super().run(trial, planned)
            return type(done)(**{**vars(done), "bag": ""}), images

    with Session(plan, tmp_path) as session:
        run_trials(session, Bagless(plan, tmp_path))
    with pytest.raises(SessionError, match="was run without ROS"):
        check_session(tmp_path)


def test_a_name_says_trial_and_try(tmp_path: Path) -> None:
    assert new_name(tmp_path, 7) == "trial_0007_1"
    (tmp_path / "bags" / ".trial_0007_1.partial").mkdir(parents=True)
    (tmp_path / "bags" / "trial_0007_10").mkdir()
    assert new_name(tmp_path, 7) == "trial_0007_11"
    assert trial_of("trial_0007_11") == (7, 11)
    assert trial_of("2026_trial_0007_1") is None
