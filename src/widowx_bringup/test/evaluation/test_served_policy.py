"""A served policy where a bundle is taken: in evaluations, in plans and lineages of sessions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_bundle
from served_rig import Serving, describe, serving

from ptr_common.errors import PtrError
from ptr_common.files import sha256
from ptr_policy_node.policy import load_bundle
from widowx_bringup.evaluation.evaluate import (
    EvaluationError,
    EvaluationPlan,
    evaluate,
    main,
    parse_method,
)
from widowx_bringup.evaluation.in_process import PooledRunner, _Outcome
from widowx_bringup.evaluation.results import planned_rollout, read_results
from widowx_bringup.evaluation.session.plan import load_plan
from widowx_bringup.evaluation.session.report.lineage import keep_lineage, read_lineage
from widowx_bringup.sim.tasks import TARGET_TASK

CAMERA = replace(toy_bundle.CAMERA, name="over_shoulder")
INFO = replace(toy_bundle.INFO, camera=CAMERA, tasks=(TARGET_TASK, "b"))
PLAN = EvaluationPlan(TARGET_TASK, rollouts=2, seed=5, max_steps=4, over_ros=False)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    toy_bundle.write(tmp_path / "bundle", INFO, "torchscript")
    with serving(load_bundle(tmp_path / "bundle")) as found:
        yield found


def description(folder: Path, served: Serving, **changes: Any) -> Path:
    return describe(
        folder / "served.yaml",
        "openvla",
        served.urls["openvla"],
        camera={**vars(CAMERA)},
        tasks=[TARGET_TASK],
        **changes,
    )


def test_its_rollouts_are_those_of_the_bundle(tmp_path: Path, served: Serving) -> None:
    file = description(tmp_path, served)
    methods = [parse_method(str(tmp_path / "bundle")), parse_method(str(file))]
    assert [method.name for method in methods] == ["bundle", "served"]
    evaluate(methods, PLAN, tmp_path / "out", {})
    out = tmp_path / "out"
    rows = [replace(row, method="", strip="") for row in read_results(out)]
    assert rows[:2] == rows[2:]
    for name in ("000.jpg", "001.jpg"):
        strip = (out / "strips" / f"served_{name}").read_bytes()
        assert strip == (out / "strips" / f"bundle_{name}").read_bytes()


def test_a_rollout_without_an_action_does_not_count(
    tmp_path: Path, served: Serving
) -> None:
    method = parse_method(str(description(tmp_path, served)))
    steps = iter(range(1000))
    served.server.change = lambda action: action * (np.nan if next(steps) > 2 else 1.0)
    with pytest.raises(PtrError, match=r"not finite.*goes on there"):
        evaluate([method], PLAN, tmp_path / "out", {})
    rows = read_results(tmp_path / "out")
    assert len(rows) == 3
    assert all(row.aborted and "not finite" in row.reason for row in rows)
    served.server.change = lambda action: action
    evaluate([method], PLAN, tmp_path / "out", {})
    done = [row for row in read_results(tmp_path / "out") if not row.aborted]
    assert [row.rollout for row in done] == [0, 1]


def test_side_by_side_it_ends_the_evaluation() -> None:
    planned = planned_rollout("pi", 0, 7, TARGET_TASK, "")
    aborted = replace(planned, aborted=True, reason="the server did not answer")
    outcomes = iter([_Outcome(aborted, [], None, None)])
    with pytest.raises(PtrError, match=r"rollout 0 does not count: the server did not"):
        PooledRunner(outcomes).run(planned, 4)


def test_a_session_names_it_by_its_description_and_keeps_that(
    tmp_path: Path, served: Serving
) -> None:
    file = description(tmp_path, served)
    plan_file = tmp_path / "session.yaml"
    plan_file.write_text(
        f"{{task: {TARGET_TASK}, methods: {{pi: served.yaml}}, trials: 1}}"
    )
    plan = load_plan(plan_file)
    assert plan.methods == {"pi": sha256(file)}
    keep_lineage(plan, tmp_path / "session")
    copy = tmp_path / "session" / "lineage" / plan.methods["pi"] / "served.yaml"
    shutil.move(file, tmp_path / "gone.yaml")
    (found,) = read_lineage(plan.to_json(), tmp_path / "session")
    assert copy.is_file()
    assert found.info is not None
    assert found.info.agent == "served by openvla"
    assert found.checkpoint == served.urls["openvla"]


def test_its_description_is_no_plan_of_a_session(tmp_path: Path) -> None:
    missing = str(tmp_path / "served.yaml")
    with pytest.raises(EvaluationError, match=r"served\.yaml is no bundle"):
        main(["--policy", missing, "--in-process", "--out", str(tmp_path / "out")])
