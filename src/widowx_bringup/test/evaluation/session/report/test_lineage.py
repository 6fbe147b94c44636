"""Where the methods of a session come from: what is kept of it, and what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from trial_bags import plan_with

from ptr_common.errors import PtrError
from widowx_bringup.evaluation.session.plan import SessionPlan
from widowx_bringup.evaluation.session.report.curves import curves_png
from widowx_bringup.evaluation.session.report.lineage import (
    Lineage,
    keep_lineage,
    read_lineage,
)

METRICS = "step,loss,q_data\n10,0.5,\n20,0.25,0.75\n"


def run_beside(bundles: Path, tmp_path: Path, target: str) -> SessionPlan:
    """Return a plan whose first bundle lies beside the run that made it.

    Args:
        bundles: Folder with the bundles.
        tmp_path: Gets a copy of them.
        target: SHA-256 of the data that the run learnt from.
    """
    copies = Path(shutil.copytree(bundles, tmp_path / "row"))
    run = copies / "run"  # bundle.json says run/checkpoints/step_1.pt
    (run / "select").mkdir(parents=True)
    (run / "config.yaml").write_text("agent: {name: cql}\n")
    (run / "metrics.csv").write_text(METRICS)
    (run / "data.json").write_text(json.dumps({"target": {"sha256": target}}))
    choice = {"step": 1, "rule": "last", "demonstrations": 2}
    (run / "select" / "choice.json").write_text(json.dumps(choice))
    return plan_with(copies)


def first(plan: SessionPlan, folder: Path) -> Lineage:
    keep_lineage(plan, folder)
    return read_lineage(plan.to_json(), folder)[0]


def test_bundle_and_run_are_kept_with_the_session(bundles: Path, tmp_path: Path) -> None:
    plan = run_beside(bundles, tmp_path, "0" * 64)
    found = first(plan, tmp_path / "session")
    shutil.rmtree(tmp_path / "row")
    assert found.info is not None
    assert found.sha256 == plan.methods["ptr"]
    assert found.data == [("target", "t", "0" * 64)]
    assert found.checkpoint == "run/checkpoints/step_1.pt, step 1"
    assert found.text("config.yaml") == "agent: {name: cql}\n"
    assert found.metrics() == {
        "loss": [(10.0, 0.5), (20.0, 0.25)],
        "q_data": [(20.0, 0.75)],
    }
    assert found.q_trend is None
    keep_lineage(plan, tmp_path / "session")  # nothing is read twice: the bundles are gone


def test_a_run_of_other_data_is_not_taken_for_it(bundles: Path, tmp_path: Path) -> None:
    found = first(run_beside(bundles, tmp_path, "1" * 64), tmp_path / "session")
    assert found.info is not None
    assert found.text("config.yaml") == ""
    assert found.metrics() == {}


def test_damaged_metrics_are_named(bundles: Path, tmp_path: Path) -> None:
    found = first(run_beside(bundles, tmp_path, "0" * 64), tmp_path / "session")
    (found.folder / "metrics.csv").write_text("step,loss\n1,nought\n")
    with pytest.raises(PtrError, match=r"metrics\.csv is damaged: .*nought"):
        found.metrics()


def test_a_copy_that_was_changed_tells_nothing(bundles: Path, tmp_path: Path) -> None:
    found = first(plan_with(bundles), tmp_path)
    file = found.folder / "bundle.json"
    file.write_text(file.read_text().replace("step_1", "step_2"))
    (again, _) = read_lineage(plan_with(bundles).to_json(), tmp_path)
    assert again.info is None
    assert again.checkpoint == ""


def test_curves_are_drawn_of_the_metrics_that_there_are() -> None:
    assert curves_png({"loss": [(1.0, 0.5), (2.0, 0.3)]}).startswith(
        "data:image/png;base64,"
    )
    assert curves_png({"weight": [(1.0, 0.5)]}) == ""
