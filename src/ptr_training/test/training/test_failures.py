"""Failed episodes as data: rewards, who learns from them, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ptr_training.data.episode import Episode, EpisodeWriter
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions
from ptr_training.errors import TrainingError
from ptr_training.training.train import finetune, pretrain

MakeStore = Callable[..., Path]
WEIGHTED = {"name": "cql_weighted", "mc_weight": 1.0, "clone_steps": 1}


def with_failures(path: Path, out: Path, failed: int) -> Path:
    """Write a store whose first episodes are failures, and one that was interrupted."""
    store = EpisodeStore.open(path)
    with EpisodeWriter(out, store.info) as writer:
        for number, episode in enumerate(store):
            outcome = "failure" if number < failed else "success"
            if number == len(store) - 1:
                outcome = "interrupted"
            writer.add(Episode(**{**vars(episode), "outcome": outcome}))
    return out


@pytest.fixture
def mixed(tmp_path: Path, make_store: MakeStore) -> Path:
    """Return a store of 2 failures, 3 successes and an interrupted episode."""
    source = make_store("whole", tasks=("a",), per_task=6)
    return with_failures(source, tmp_path / "mixed", 2)


def test_failed_episode_earns_nothing_and_never_reaches_the_reward(mixed: Path) -> None:
    store = EpisodeStore.open(mixed)
    task_ids = TaskIds.for_tasks(["a"], 0)
    successes = Transitions(store, task_ids)
    both = Transitions(store, task_ids, failures=True)
    assert (successes.failures, both.failures) == (0, 2)
    lengths = [entry.length for entry in store.entries]
    assert len(successes) == sum(lengths[2:5])
    assert len(both) == sum(lengths[:5])
    rewards, steps, last, _ = both._labels.T
    failed = np.arange(len(both)) < sum(lengths[:2])
    assert not rewards[failed].any()
    assert np.isinf(steps[failed]).all()
    assert last[failed].sum() == 2  # an episode ends, whatever its outcome
    np.testing.assert_array_equal(both._labels[~failed], successes._labels)


def preset_file(tmp_path: Path, values: dict[str, Any], agent: dict[str, Any]) -> str:
    changed = {**values, "agent": agent, "data": {"failures": "use"}}
    path = tmp_path / f"{agent['name']}.yaml"
    path.write_text(yaml.safe_dump(changed))
    return str(path)


def test_critics_learn_from_failures_and_clones_leave_them_out(
    tmp_path: Path, preset_values: dict[str, Any], mixed: Path
) -> None:
    weights = {}
    for agent in (WEIGHTED, {"name": "bc"}):
        preset = preset_file(tmp_path, preset_values, agent)
        out = tmp_path / f"{agent['name']}-run"
        pretrain(["--config", preset, "--data", str(mixed), "--out", str(out)])
        header = (out / "metrics.csv").read_text().splitlines()[0].split(",")
        row = (out / "metrics.csv").read_text().splitlines()[1].split(",")
        weights[agent["name"]] = dict(zip(header, row, strict=True)).get("weight")
    assert 0.0 < float(weights["cql_weighted"]) < 1.0
    assert weights["bc"] is None


def test_failures_of_the_target_are_added_to_the_demonstrations(
    tmp_path: Path, preset_values: dict[str, Any], mixed: Path
) -> None:
    preset = preset_file(tmp_path, preset_values, WEIGHTED)
    out = tmp_path / "fine"
    where = ["--target", str(mixed), "--out", str(out), "--holdout", "1"]
    finetune(["--config", preset, *where])
    target = json.loads((out / "data.json").read_text())["target"]
    ids = [entry.id for entry in EpisodeStore.open(mixed).entries]
    assert target["failures"] == ids[:2]
    assert sorted(target["train"] + target["holdout"]) == sorted(ids[2:5])


def test_failures_that_are_asked_for_and_missing_are_an_error(
    tmp_path: Path, preset_values: dict[str, Any], make_store: MakeStore
) -> None:
    store = make_store("clean", tasks=("a",))
    preset = preset_file(tmp_path, preset_values, WEIGHTED)
    with pytest.raises(
        TrainingError, match=r"failures is use, but .*clean hold no episode"
    ):
        pretrain(["--config", preset, "--data", str(store), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def finetuned(tmp_path: Path, preset: str, *options: Path | str) -> dict[str, Any]:
    out = tmp_path / f"fine-{len(list(tmp_path.iterdir()))}"
    finetune(["--config", preset, "--out", str(out), "--holdout", "1", *map(str, options)])
    return dict(json.loads((out / "data.json").read_text()))


def test_rollouts_are_learnt_from_beside_the_demonstrations(
    tmp_path: Path, preset_values: dict[str, Any], make_store: MakeStore, mixed: Path
) -> None:
    demonstrations = make_store("demonstrations", tasks=("a",))
    changed = {**preset_values, "agent": WEIGHTED}
    preset = tmp_path / "rollouts.yaml"
    preset.write_text(yaml.safe_dump(changed))
    target = ("--target", demonstrations)
    data = finetuned(tmp_path, str(preset), *target, "--rollouts", mixed)
    assert data["rollouts"][0]["sha256"] == EpisodeStore.open(mixed).fingerprint
    assert len(data["target"]["train"]) + len(data["target"]["holdout"]) == len(
        EpisodeStore.open(demonstrations)
    )
    assert "rollouts" not in finetuned(tmp_path, str(preset), *target)


def test_rollouts_of_another_task_are_refused(
    tmp_path: Path, preset_values: dict[str, Any], make_store: MakeStore, mixed: Path
) -> None:
    other = make_store("other", tasks=("b",))
    preset = preset_file(tmp_path, preset_values, {"name": "bc"})
    with pytest.raises(TrainingError, match=r"holds task 'a', the demonstrations .* 'b'"):
        finetuned(tmp_path, preset, "--target", other, "--rollouts", mixed)
