"""The report of a session: nothing that names a method before its end, all of it afterwards."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from trial_bags import Recorded, plan_with, record, rewrite_journal

from widowx_bringup.evaluation.results import read_results
from widowx_bringup.evaluation.session import journal
from widowx_bringup.evaluation.session.attendance import Attendance, Placement
from widowx_bringup.evaluation.session.main import main
from widowx_bringup.evaluation.session.plan import SessionError, SessionPlan
from widowx_bringup.evaluation.session.report.page import protocol, write_session_report
from widowx_bringup.evaluation.session.report.trials import read_told
from widowx_bringup.evaluation.session.running import run_trials
from widowx_bringup.evaluation.session.session import Session, unblind


class Links(HTMLParser):
    """Collects what a page links or loads, and the ids in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "poster") and value:
                self.targets.append(value)
            if name == "id" and value:
                self.ids.add(value)


def files_of(page: str) -> Iterator[str]:
    """Yield the files that a page names beside itself."""
    for target in Links(page).targets:
        if not target.startswith(("data:", "#")):
            yield target.partition("#")[0]


@pytest.fixture(scope="module")
def blinded(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blinded session with its report."""
    copy = tmp_path_factory.mktemp("blinded") / "out"
    folder = Path(shutil.copytree(recorded, copy))
    assert main(["report", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def unblinded(blinded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session after its end."""
    copy = tmp_path_factory.mktemp("unblinded") / "out"
    folder = Path(shutil.copytree(blinded, copy))
    unblind(folder)
    write_session_report(folder)
    return folder


def text_of(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_a_blinded_report_tells_results_by_codes(blinded: Path) -> None:
    page = text_of(blinded)
    assert "Still blinded" in page
    assert "A against B: " in page or "B against A: " in page
    assert "4 of 4 trials: the table follows from the bags (1 void try left out)." in page
    assert {row.method for row in read_results(blinded)} == {"A", "B"}


def test_nothing_in_a_blinded_report_names_a_method(
    blinded: Path, plan: SessionPlan
) -> None:
    page = text_of(blinded) + (blinded / "results.json").read_text()
    for name, digits in plan.methods.items():
        assert not re.search(rf"\b{name}\b", page.replace("ptr session", ""))
        assert digits[:12] not in page
    for word in ("bags/", "checkpoint", "config.yaml", ".svg", "films/trial_0000.html"):
        assert word not in page
    assert not list((blinded / "films").glob("*.html"))
    assert not list((blinded / "films").glob("*.svg"))


def test_a_report_links_only_what_is_there(blinded: Path, unblinded: Path) -> None:
    for folder in (blinded, unblinded):
        page = text_of(folder)
        found = set(files_of(page))
        assert {"films/trial_0000.mp4", "films/trial_0000.jpg", "results.csv"} <= found
        for target in found:
            assert (folder / target).exists(), target
        links = Links(page)
        inner = {target[1:] for target in links.targets if target.startswith("#")}
        assert inner == {f"trial-{number}" for number in range(4)} <= links.ids


def test_the_end_brings_names_films_with_q_bags_and_bundles(
    unblinded: Path, plan: SessionPlan
) -> None:
    page = text_of(unblinded)
    assert "Still blinded" not in page
    assert "A was " in page
    for name, digits in plan.methods.items():
        assert f">{name}</th>" in page
        assert digits in page
    assert "0" * 64 in page  # of the target data
    assert "run/checkpoints/step_1.pt, step 1" in page
    found = set(files_of(page))
    assert {"films/trial_0003.html", "films/trial_0003.svg"} <= found
    assert any(target.startswith("bags/trial_0001_2") for target in found)
    results = json.loads((unblinded / "results.json").read_text())
    assert [row["method"] for row in results["methods"]] == ["ptr", "bc"]


def test_void_tries_and_reasons_are_told_apart(unblinded: Path) -> None:
    page = text_of(unblinded)
    assert page.count("the camera died") == 1
    assert page.count("1 void</small>") == 1
    assert '<th scope="row">time over</th>' in page
    assert "ptr against bc: 2 of 2 scenes were solved by ptr alone" in page
    assert "not resolved" in page


def test_every_state_has_a_mark_and_a_word(unblinded: Path) -> None:
    page = text_of(unblinded)
    assert "● solved" in page
    assert "✕ failed" in page


def test_a_bag_that_differs_is_told_in_the_report(folder: Path) -> None:
    shutil.rmtree(folder / "bags" / "trial_0000_1")
    page = write_session_report(folder, films=False).read_text()
    assert "Bags and journal differ" in page
    assert "trial 0: its bag bags/trial_0000_1 is missing" in page


def test_what_a_person_judged_is_shown(plan: SessionPlan, tmp_path: Path) -> None:
    record(plan, tmp_path)
    judged = {
        "judge": "person",
        "reason": "it dropped <the> cube",
        "stage": "grasped",
        "residual": {"position": 0.0123, "rotation": 2.5},
    }

    def change(line: dict) -> None:
        if line["event"] == journal.TRIAL and line["trial"] == 2:
            line |= judged

    rewrite_journal(tmp_path, change)
    page = write_session_report(tmp_path, films=False).read_text()
    assert "it dropped &lt;the&gt; cube" in page
    assert "<td>grasped</td>" in page
    assert "<td>12 mm, 2.5°</td>" in page
    assert "the simulator (3), person (1)" in page


def test_three_methods_have_three_pairs_and_cochrans_q(
    bundles: Path, tmp_path: Path
) -> None:
    methods = {"ptr": "ptr", "bc": "bc", "again": "ptr"}
    plan = plan_with(bundles, methods=methods, trials=3, blind=False)
    page = write_session_report(record(plan, tmp_path), films=False).read_text()
    assert page.count(" alone; difference") == 3
    assert (
        "All 3 methods on 3 scenes: Cochran&#39;s Q = 6.00, p = 0.05: they differ" in page
    )
    assert "adjusted by Holm for 3 pairs" in page
    assert len(json.loads((tmp_path / "results.json").read_text())["contrasts"]) == 3


def test_a_session_that_has_just_begun_has_a_report(
    plan: SessionPlan, tmp_path: Path
) -> None:
    Session(plan, tmp_path).journal.close()
    page = write_session_report(tmp_path).read_text()
    assert "0 of 4 done" in page
    assert "No two methods have met the same scene so far" in page


def test_a_session_without_bags_has_a_report(plan: SessionPlan, tmp_path: Path) -> None:
    class Bagless(Recorded):
        def run(self, trial, planned):  # type: ignore[no-untyped-def]
            done, images = super().run(trial, planned)
            return replace(done, bag=""), images

    with Session(plan, tmp_path) as session:
        run_trials(session, Bagless(plan, tmp_path))
    unblind(tmp_path)
    page = write_session_report(tmp_path).read_text()
    assert "No bag was recorded" in page
    assert "no copy of its bundle.json" in page
    assert "<video" not in page
    assert 'src="strips/trial_0000.jpg"' in page


def test_what_a_later_version_plans_is_shown_as_it_is(
    plan: SessionPlan, tmp_path: Path
) -> None:
    Session(plan, tmp_path).journal.close()

    def change(line: dict) -> None:
        line["plan"]["lighting"] = [{"text": "left <of> the plate"}]

    rewrite_journal(tmp_path, change)
    facts = protocol(read_told(tmp_path))
    assert facts["lighting"] == '[{"text": "left <of> the plate"}]'


def test_what_a_person_was_to_do_is_told_in_words(
    plan: SessionPlan, tmp_path: Path
) -> None:
    pose = (0.28, 0.05, 0.12, 0.0, 0.0, 0.3, 1.0)
    laid = (Placement("cube left", Path("left.png"), 64 * "0"), Placement("cube right"))
    attendance = Attendance(judge="person", starts=(pose,), placements=laid, position=0.02)
    Session(replace(plan, attendance=attendance), tmp_path).journal.close()
    facts = protocol(read_told(tmp_path))
    assert facts["start poses"] == "1, which the scenes take in turn; met to 20 mm and 3°"
    assert facts["layouts"] == "cube left; cube right"
    assert not {"judge", "starts", "placements", "tolerance"} & set(facts)


def test_a_folder_without_a_session_is_named(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="holds no session"):
        write_session_report(tmp_path)
