"""Plans of sessions: what they say, their hash, and the order of their trials."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from session_plans import write_plan

from widowx_bringup.evaluation.session.plan import (
    SessionError,
    SessionPlan,
    load_plan,
)
from widowx_bringup.sim.tasks import TARGET_TASK


def test_a_plan_says_what_it_compares(bundles: Path) -> None:
    plan = load_plan(write_plan(bundles, camera={"rise": 0.07}))
    assert (plan.name, plan.max_steps, plan.blind) == ("plan", 5, True)
    assert plan.camera_shift.rise == 0.07
    assert set(plan.methods) == {"ptr", "bc"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trial": 3}, "unknown entry trial; did you mean trials"),
        ({"camera": {"lift": 1}}, r"unknown entry camera\.lift"),
        (
            {"camera": {"rise": 3}},
            r"camera\.rise is 3; expected a number from -0\.2 to 0\.5",
        ),
        ({"trials": 0}, "trials is 0; expected a whole number from 1"),
        ({"time_limit": float("nan")}, "time_limit is nan"),
        ({"methods": {}}, "methods has 0 entries"),
        ({"methods": {"ptr": "nowhere"}}, r"methods\.ptr is .*nowhere, which is no bundle"),
        ({"blind": "yes"}, "blind is 'yes'; expected true or false"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(
    bundles: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SessionError, match=message):
        load_plan(write_plan(bundles, **changes))


def test_the_hash_is_of_the_bundles_and_not_of_where_they_lie(
    bundles: Path, tmp_path: Path
) -> None:
    plan = load_plan(write_plan(bundles))
    moved = {name: tmp_path / path.name for name, path in plan.bundles.items()}
    assert replace(plan, bundles=moved).sha256 == plan.sha256
    assert replace(plan, methods={**plan.methods, "bc": "0" * 64}).sha256 != plan.sha256
    assert replace(plan, seed=5).sha256 != plan.sha256


@pytest.mark.parametrize("methods", [1, 2, 3, 5])
def test_all_methods_meet_each_scene_and_each_place_as_often(methods: int) -> None:
    names = [f"m{index}" for index in range(methods)]
    hashes = dict.fromkeys(names, "0" * 64)
    plan = SessionPlan("s", TARGET_TASK, hashes, {}, 3 * methods, 1, 1.0, blind=True)
    order = plan.order("salt")
    assert [trial.number for trial in order] == list(range(len(order)))
    places: Counter[tuple[str, int]] = Counter()
    for scene in range(plan.trials):
        block = order[scene * methods : (scene + 1) * methods]
        assert {trial.scene for trial in block} == {scene}
        assert len({trial.layout_seed for trial in block}) == 1
        assert sorted(trial.method for trial in block) == names
        places.update((trial.method, place) for place, trial in enumerate(block))
    assert set(places.values()) == {3}
    assert order == plan.order("salt")
    assert len({trial.layout_seed for trial in order}) == plan.trials


def test_the_order_of_a_blinded_session_does_not_follow_from_its_plan() -> None:
    hashes = {"ptr": "0" * 64, "bc": "1" * 64}
    plan = SessionPlan("s", TARGET_TASK, hashes, {}, 40, 1, 1.0, blind=True)

    def methods(plan: SessionPlan, salt: str) -> list[str]:
        return [trial.method for trial in plan.order(salt)]

    assert methods(plan, "a") != methods(plan, "b")
    assert plan.order("a")[7].layout_seed == plan.order("b")[7].layout_seed
    open_plan = replace(plan, blind=False)
    assert methods(open_plan, "a") == methods(open_plan, "b")
    turned = replace(plan, methods={"bc": "1" * 64, "ptr": "0" * 64})
    assert turned.sha256 == plan.sha256
    assert turned.order("a") == plan.order("a")
