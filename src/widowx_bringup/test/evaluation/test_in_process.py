"""Rollouts without ROS: several processes give what one gives, to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_bundle
from torch import Tensor

from ptr_policy_node.bundle import write_bundle
from ptr_training.data.store import EpisodeStore
from widowx_bringup.evaluation import evaluate as module
from widowx_bringup.evaluation.evaluate import EvaluationPlan, evaluate
from widowx_bringup.evaluation.film_strip import write_film_strip
from widowx_bringup.evaluation.results import read_results
from widowx_bringup.evaluation.runners import Method
from widowx_bringup.sim.tasks import TARGET_TASK

PLAN = EvaluationPlan(TARGET_TASK, rollouts=3, seed=5, max_steps=4, over_ros=False)


class Drawing(toy_bundle.Toy):
    """Moves by its image's brightness; its gripper opens or closes, each as probable."""

    @torch.jit.export
    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        aside = image.to(torch.float32).mean((1, 2, 3)).unsqueeze(1) / 255.0 * 0.05
        still = torch.zeros_like(proprio[:, :5])
        opens = torch.ones_like(aside)
        action = torch.cat([aside, still, opens], 1)
        return action, torch.cat([aside, still, opens * 0.5], 1)


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> list[Method]:
    """Two policies that draw their gripper."""
    camera = replace(toy_bundle.CAMERA, name="over_shoulder")
    tasks = (TARGET_TASK, "b")
    info = replace(toy_bundle.INFO, camera=camera, tasks=tasks, draws_gripper=True)
    policy = Drawing()
    folder = tmp_path_factory.mktemp("bundles")
    programs = toy_bundle.programs(policy, "torchscript")
    for name in ("ptr", "bc"):
        write_bundle(folder / name, info, programs, toy_bundle.golden(policy))
    return [Method(name, folder / name) for name in ("ptr", "bc")]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def test_results_strips_films_and_kept_episodes_do_not_depend_on_the_number_of_processes(
    methods: list[Method], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    evaluate(methods, PLAN, one, {}, keeps=True, films=True)

    def interrupt(path: Path, images: list[np.ndarray]) -> None:
        if path.name.startswith("ptr_001"):
            raise KeyboardInterrupt
        write_film_strip(path, images)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_film_strip", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate(methods, PLAN, two, {}, keeps=True, films=True)
    evaluate(methods, PLAN, two, {}, keeps=True, films=True, workers=2)

    assert [row.rollout for row in read_results(two)] == [0, 1, 2] * 2
    assert files_of(two) == files_of(one)
    films = {name for name in files_of(one) if name.startswith("films/")}
    assert films >= {
        f"films/{name}_{n:03d}.html" for name in ("ptr", "bc") for n in range(3)
    }
    page = (one / "films.html").read_text()
    assert all(name in page for name in films if name.endswith(".html"))
    assert ">Q1<" in (one / "films/ptr_000.svg").read_text()
    store = EpisodeStore.open(two / "episodes" / "ptr")
    assert len(store.entries) == PLAN.rollouts
    assert set(store.episode(0).requested[:, 6]) == {0.0, 1.0}  # drawn
