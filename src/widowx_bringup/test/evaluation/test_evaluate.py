"""`ptr evaluate`: scenes, interrupted evaluations, and what is refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from widowx_bringup.evaluation import evaluate as module
from widowx_bringup.evaluation.evaluate import (
    EvaluationError,
    EvaluationPlan,
    evaluate,
    main,
    parse_method,
)
from widowx_bringup.evaluation.results import Rollout, read_results
from widowx_bringup.evaluation.runners import Method, SessionLostError
from widowx_bringup.evaluation.session.plan import SessionError
from widowx_bringup.sim.camera_shift import CameraShift
from widowx_bringup.sim.tasks import TARGET_TASK, TaskError

PLAN = EvaluationPlan(TARGET_TASK, rollouts=3, seed=5, max_steps=4, over_ros=False)


@dataclass
class Lottery:
    """Takes the place of simulator and policy: a rollout succeeds if its seed is even."""

    seen: list[tuple[str, int]]
    breaks_at: int = -1
    starts: int = 0
    aborts: dict[int, int] = field(default_factory=dict)  # rollouts: how often each
    lost: bool = False  # whether the graph fails then
    film: None = None  # none is made

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        if rollout.rollout == self.breaks_at:
            raise KeyboardInterrupt
        self.seen.append((rollout.method, rollout.layout_seed))
        if self.aborts.get(rollout.rollout):
            self.aborts[rollout.rollout] -= 1
            if self.lost:
                raise SessionLostError("policy_node ended (killed by SIGKILL)")
            return replace(rollout, aborted=True, reason="the camera stopped"), []
        frames = [np.zeros((24, 32, 3), np.uint8)] * 2
        return replace(
            rollout, success=rollout.layout_seed % 2 == 0, steps=max_steps
        ), frames


@pytest.fixture
def lottery(monkeypatch: pytest.MonkeyPatch) -> Lottery:
    runner = Lottery([])

    @contextlib.contextmanager
    def start(*_: object, **__: object) -> Iterator[Lottery]:
        runner.starts += 1
        yield runner

    monkeypatch.setattr(module, "open_runner", start)
    return runner


METHODS = [Method("ptr", Path("a")), Method("bc", Path("b"))]


def test_every_method_sees_the_same_scenes(lottery: Lottery, tmp_path: Path) -> None:
    rollouts = evaluate(METHODS, PLAN, tmp_path, {})
    for name in ("ptr", "bc"):
        seeds = [seed for method, seed in lottery.seen if method == name]
        assert seeds == PLAN.layout_seeds()
    assert read_results(tmp_path) == rollouts
    assert all((tmp_path / rollout.strip).is_file() for rollout in rollouts)
    scenes = json.loads((tmp_path / "scenes.json").read_text())["scenes"]
    assert [scene["seed"] for scene in scenes] == PLAN.layout_seeds()


def test_more_rollouts_begin_with_the_same_scenes() -> None:
    few, many = (
        EvaluationPlan(TARGET_TASK, count, 5, 4, True).layout_seeds() for count in (3, 10)
    )
    assert many[:3] == few
    assert len(set(many)) == 10
    assert EvaluationPlan(TARGET_TASK, 3, 6, 4, True).layout_seeds() != few


def test_an_interrupted_evaluation_goes_on_where_it_was(
    lottery: Lottery, tmp_path: Path
) -> None:
    lottery.breaks_at = 1
    with pytest.raises(KeyboardInterrupt):
        evaluate(METHODS, PLAN, tmp_path, {})
    assert len(read_results(tmp_path)) == 1
    lottery.breaks_at = -1
    assert len(evaluate(METHODS, PLAN, tmp_path, {})) == 6
    assert len(lottery.seen) == 6  # nothing ran twice


@pytest.mark.parametrize(("lost", "starts"), [(False, 1), (True, 2)])
def test_a_rollout_that_was_aborted_is_listed_and_repeated_from_the_same_scene(
    lottery: Lottery, tmp_path: Path, lost: bool, starts: int
) -> None:
    lottery.aborts, lottery.lost = {1: 1}, lost
    rollouts = evaluate(METHODS[:1], PLAN, tmp_path, {})
    assert [(row.rollout, row.aborted) for row in rollouts] == [
        *((0, False), (1, True), (1, False), (2, False))
    ]
    assert rollouts[1].layout_seed == rollouts[2].layout_seed == PLAN.layout_seeds()[1]
    assert read_results(tmp_path) == rollouts
    assert lottery.starts == starts


def test_a_rollout_that_is_aborted_again_and_again_ends_with_the_cause_and_is_resumed(
    lottery: Lottery, tmp_path: Path
) -> None:
    lottery.aborts = {1: 99}
    with pytest.raises(
        EvaluationError, match=r"rollout 1 was repeated 2 .* camera stopped"
    ):
        evaluate(METHODS, PLAN, tmp_path, {})
    lottery.aborts = {}
    lottery.seen.clear()
    rollouts = evaluate(METHODS, PLAN, tmp_path, {})
    seeds = PLAN.layout_seeds()
    assert lottery.seen == [
        *(("ptr", seed) for seed in seeds[1:]),
        *(("bc", seed) for seed in seeds),
    ]
    assert sum(row.aborted for row in rollouts) == 3


def test_a_method_without_a_store_begins_anew_where_episodes_are_kept(
    lottery: Lottery, tmp_path: Path
) -> None:
    evaluate(METHODS, PLAN, tmp_path, {})
    (tmp_path / "episodes" / "bc").mkdir(parents=True)
    assert len(evaluate(METHODS, PLAN, tmp_path, {}, keeps=True)) == 6
    assert [name for name, _ in lottery.seen[6:]] == ["ptr"] * 3
    assert len(read_results(tmp_path)) == 6


def test_another_plan_in_the_same_folder_is_refused(
    lottery: Lottery, tmp_path: Path
) -> None:
    evaluate(METHODS, PLAN, tmp_path, {})
    with pytest.raises(EvaluationError, match="holds an evaluation of"):
        evaluate(METHODS, EvaluationPlan(TARGET_TASK, 3, 99, 4, False), tmp_path, {})
    with pytest.raises(EvaluationError, match=r"'camera_rise': 0\.07"):
        evaluate(METHODS, replace(PLAN, camera_rise=0.07), tmp_path, {})


def test_a_folder_whose_plan_says_nothing_of_the_camera_had_the_usual_one(
    lottery: Lottery, tmp_path: Path
) -> None:
    evaluate(METHODS, PLAN, tmp_path, {})
    scenes = json.loads((tmp_path / "scenes.json").read_text())
    del scenes["plan"]["camera_rise"], scenes["plan"]["camera_turn"]
    (tmp_path / "scenes.json").write_text(json.dumps(scenes))
    assert len(evaluate(METHODS, PLAN, tmp_path, {})) == len(METHODS) * PLAN.rollouts


def test_processes_that_roll_out_over_ros_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    sentence = (
        r"--workers 2 needs --in-process: over ROS one graph runs one rollout at a time$"
    )
    with pytest.raises(EvaluationError, match=sentence):
        main(["--policy", str(tmp_path), "--workers", "2", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_the_camera_of_a_plan_is_moved_whatever_is_evaluated() -> None:
    plan = replace(PLAN, camera_rise=0.07, camera_turn=15.0)
    assert plan.camera_shift == CameraShift(0.07, 15.0)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is no bundle"):
        parse_method(f"ptr={tmp_path}")


def test_an_unknown_task_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(TaskError, match="put the red cube"):
        main(
            [
                "--policy",
                str(tmp_path),
                "--task",
                "make coffee",
                "--in-process",
                "--out",
                str(tmp_path / "out"),
            ]
        )
    assert not (tmp_path / "out").exists()


def test_the_plan_of_a_session_is_carried_out_by_it(tmp_path: Path) -> None:
    """With the options of `ptr session run`, which refuses what it does not know."""
    missing = tmp_path / "plan.yaml"
    with pytest.raises(SessionError, match=r"plan\.yaml cannot be read"):
        main(["--out", str(tmp_path), str(missing), "--in-process"])
    with pytest.raises(SystemExit):
        main([str(missing), "--rollouts", "3", "--out", str(tmp_path)])
