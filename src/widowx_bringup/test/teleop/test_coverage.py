"""What a set of demonstrations still lacks, and the bags it is read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_bags import FAILURE, Script, write

from widowx_bringup.teleop.coverage import (
    ENOUGH,
    Demonstration,
    missing_coverage,
    read_demonstrations,
)


def demonstration(
    seed: int = 0, length: int = 20, idle: int = 0, grips: bool = True
) -> Demonstration:
    rng = np.random.default_rng(seed)
    actions = np.zeros((length, 7))
    actions[idle:, :3] = rng.uniform(0.01, 0.03, (length - idle, 3))
    actions[:, 6] = 1.0
    if grips:
        actions[length // 2 :, 6] = 0.0
    proprio = np.zeros((length, 7))
    proprio[:, :3] = rng.uniform(0.2, 0.4, 3) + np.cumsum(actions[:, :3], 0)
    return Demonstration(proprio, actions)


def test_a_good_set_lacks_nothing() -> None:
    assert missing_coverage([demonstration(seed) for seed in range(ENOUGH)]) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"idle": 8}, "demonstration 3 begins with 1.6 s without motion"),
        ({"grips": False}, "in demonstration 3 the gripper neither opens nor closes"),
        ({"seed": 0}, "demonstration 3 repeats demonstration 1"),
    ],
)
def test_a_weakness_is_reported_with_the_number_of_the_demonstration(
    changes: dict[str, Any], sentence: str
) -> None:
    several = [demonstration(0), demonstration(1), demonstration(**{"seed": 2, **changes})]
    assert sentence in missing_coverage(several)


def test_a_small_set_and_a_common_start_position_are_reported() -> None:
    same = [demonstration(seed) for seed in range(3)]
    for item in same:
        item.proprio[0, :3] = 0.3
    assert missing_coverage(same) == [
        f"3 of {ENOUGH} demonstrations are recorded",
        "all demonstrations start at the same position: move the arm before some of them",
    ]


def test_earlier_bags_of_the_task_belong_to_the_set(tmp_path: Path) -> None:
    for name, end in (("a", 2), ("b", FAILURE)):
        script = Script()
        script.episode(1_000_000_000, 4, name=name, end=end)
        write(tmp_path / name, script)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("nonsense")
    demonstrations = read_demonstrations(tmp_path, "put red in bowl")
    assert [item.actions.shape for item in demonstrations] == [(4, 7)]
    assert demonstrations[0].proprio.shape == (4, 7)
    assert read_demonstrations(tmp_path, "another task") == []
    assert read_demonstrations(tmp_path / "nowhere", "put red in bowl") == []
