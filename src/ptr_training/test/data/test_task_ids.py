"""Task ids: ids that never change their meaning."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ptr_training.data.task_ids import TaskIds
from ptr_training.errors import TrainingError


def test_task_ids_keep_ids_when_a_target_is_added(tmp_path: Path) -> None:
    task_ids = TaskIds.for_tasks(["b", "a", "b"], reserve=1)
    assert [task_ids.add(name) for name in ("a", "new", "b")] == [1, 2, 0]
    task_ids.save(tmp_path / "tasks.yaml")
    assert TaskIds(**yaml.safe_load((tmp_path / "tasks.yaml").read_text())) == task_ids
    with pytest.raises(
        TrainingError, match="no free slot for task 'more': all 3 are taken by b, a, new"
    ):
        task_ids.add("more")
    with pytest.raises(TrainingError, match="unknown task 'x'; known: b, a, new"):
        task_ids.id("x")


def test_names_that_differ_in_case_or_blanks_share_an_id() -> None:
    task_ids = TaskIds.for_tasks(["Lift it", "lift  it", "push it"], reserve=1)
    assert (task_ids.width, task_ids.names) == (3, ["Lift it", "push it"])
    assert [task_ids.add(name) for name in ("LIFT IT", "push\u200b it", "new")] == [0, 1, 2]
    assert task_ids.id("New") == 2
