"""The page about a demonstration: its parts, escaped names, runs without results."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from widowx_bringup.evaluation.demo import PLANS, load_or_start
from widowx_bringup.evaluation.film_strip import write_film_strip
from widowx_bringup.evaluation.report_page import ReportError, write_report
from widowx_bringup.evaluation.results import Rollout, write_results

TASK = "put the <red> cube on the blue plate"


def finished_run(out: Path, preset: str) -> Path:
    load_or_start(out, preset, TASK, 0).save()
    rows = []
    for method, success in (("ptr", True), ("bc", False)):
        strip = f"strips/{method}_0.jpg"
        frames = [np.full((24, 32, 3), value, np.uint8) for value in (0, 128, 255)]
        write_film_strip(out / "evaluation" / strip, frames)
        rows.append(
            Rollout(method, 0, 5, TASK, success, 20, 4.0, 0, 0, 0, "solved", "", strip)
        )
    write_results(out / "evaluation", rows, {})
    return out


def test_report_is_one_file_with_table_strips_and_timings(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path / "run", "full")).read_text()
    assert "1/1" in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert "train, select, bundle" in page
    assert "http" not in page.replace(
        "http://www.w3.org", ""
    )  # nothing is loaded from elsewhere


def test_report_links_the_films_and_shows_their_curves(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", "full")
    films = run / "evaluation" / "films"
    films.mkdir()
    (films / "ptr_0.html").touch()
    (films / "ptr_0.svg").write_text("<svg/>")
    page = write_report(run).read_text()
    assert page.count('<a href="evaluation/films/ptr_0.html">') == 1
    assert page.count("data:image/svg+xml;base64,") == 1
    assert "evaluation/films/bc_0.html" not in page


def test_report_names_the_losses_and_the_choices(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "run", "full")
    choice = {"step": 300, "rule": "smallest of all", "demonstrations": 4}
    for method, agent in (
        ("ptr", {"name": "cql", "bc_weight": 50.0, "clone_steps": 9}),
        ("bc", {"name": "bc"}),
    ):
        select = out / method / "finetune" / "select"
        select.mkdir(parents=True)
        (select.parent / "config.yaml").write_text(yaml.safe_dump({"agent": agent}))
        (select / "choice.json").write_text(json.dumps(choice))
        cv2.imwrite(str(select / "q_trend.png"), np.zeros((4, 4, 3), np.uint8))
    page = write_report(out).read_text()
    assert (
        "T log π - Q + 50 x squared error to the demonstrated action, after a warm start of 9 steps"
        in page
    )
    assert page.index("conservative Q-learning") < page.index(
        "behaviour cloning by squared error"
    )
    assert page.count("Chosen: step 300, the smallest of all, on 4 demonstrations.") == 2
    assert page.count("data:image/png;base64,") == 2


def test_report_says_and_shows_what_the_critic_decides(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "run", "full")
    select = out / "ptr" / "finetune" / "select"
    select.mkdir(parents=True)
    (select.parent / "config.yaml").write_text(yaml.safe_dump({"agent": {"name": "bc"}}))
    (select / "choice.json").write_text('{"step": 3, "rule": "last", "demonstrations": 4}')
    cv2.imwrite(str(select / "q_gripper.png"), np.zeros((4, 4, 3), np.uint8))
    page = write_report(out).read_text()
    assert "before 90% of the" in page
    assert "the first 1500 only clone" in page
    assert "at least 5%" in page
    assert page.count("data:image/png;base64,") == 1


def test_report_of_a_run_before_there_were_waits_says_nothing_of_them(
    tmp_path: Path,
) -> None:
    out = finished_run(tmp_path / "run", "full")
    record = json.loads((out / "demo.json").read_text())
    del record["plan"]["waits"]
    (out / "demo.json").write_text(json.dumps(record))
    assert "What decides" not in write_report(out).read_text()


def test_names_are_escaped(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path / "run", "full")).read_text()
    assert "&lt;red&gt;" in page
    assert "<red>" not in page


def test_smoke_report_claims_nothing_about_success(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path / "run", "smoke")).read_text()
    assert str(PLANS["smoke"].demonstrations) in page
    assert "say nothing about the methods" in page


def test_unfinished_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"demo\.json"):
        write_report(tmp_path)
    (tmp_path / "demo.json").write_text(json.dumps({}))
    with pytest.raises(ReportError, match="no results"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_every_command_and_version_of_the_run_is_on_the_page(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", "full")
    page = write_report(run).read_text()
    record = json.loads((run / "demo.json").read_text())
    commands = sum(len(chain) for stage in record["stages"] for chain in stage["chains"])
    assert page.count("<code>ptr ") == commands
    for name, version in record["versions"].items():
        assert f'<tr><th scope="row">{name}</th><td>{version}</td></tr>' in page


def test_a_method_that_never_succeeds_has_a_dash_for_its_steps(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path / "run", "full")).read_text()
    assert '<td class="number">20.0</td>' in page
    assert '<td class="number">–</td>' in page
    assert "nan" not in page
