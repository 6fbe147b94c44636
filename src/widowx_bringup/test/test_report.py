from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from widowx_bringup.demo import PLANS, load_or_start
from widowx_bringup.report import ReportError, write_report
from widowx_bringup.results import Rollout, write_film_strip, write_results

TASK = "put the <red> cube on the blue plate"


def finished_run(out: Path, preset: str) -> Path:
    load_or_start(out, preset, TASK, 0).save()
    rows = []
    for method, success in (("ptr", True), ("bc", False)):
        strip = f"strips/{method}_0.jpg"
        frames = [np.full((24, 32, 3), value, np.uint8) for value in (0, 128, 255)]
        write_film_strip(out / "evaluation" / strip, frames)
        rows.append(Rollout(method, 0, 5, TASK, success, 20, 4.0, 0, 0, 0, "solved", "", strip))
    write_results(out / "evaluation", rows, {})
    return out


def test_report_is_one_file_with_table_strips_and_timings(tmp_path):
    page = write_report(finished_run(tmp_path / "run", "full")).read_text()
    assert "1/1" in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert "train, select, bundle" in page
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is loaded from elsewhere


def test_names_are_escaped(tmp_path):
    page = write_report(finished_run(tmp_path / "run", "full")).read_text()
    assert "&lt;red&gt;" in page
    assert "<red>" not in page


def test_smoke_report_claims_nothing_about_success(tmp_path):
    page = write_report(finished_run(tmp_path / "run", "smoke")).read_text()
    assert str(PLANS["smoke"].demonstrations) in page
    assert "say nothing about the methods" in page


def test_unfinished_run_has_no_report(tmp_path):
    with pytest.raises(ReportError, match=r"demo\.json"):
        write_report(tmp_path)
    (tmp_path / "demo.json").write_text(json.dumps({}))
    with pytest.raises(ReportError, match="no results"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
