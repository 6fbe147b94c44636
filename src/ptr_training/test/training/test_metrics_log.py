"""The metrics of a run: means of the log intervals, and lines of steps that are taken again."""

from __future__ import annotations

from pathlib import Path

import torch

from ptr_training.data.distributed import DistributedContext
from ptr_training.training.metrics_log import MetricsLog

ALONE = DistributedContext()


def metrics(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_a_line_holds_the_means_since_the_last_one(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        for step, loss in ((1, 1.0), (2, 3.0), (3, 7.0)):
            log.add(metrics(loss=loss))
            if step > 1:
                log.write(step, log.means(ALONE))
    assert (tmp_path / "metrics.csv").read_text().split() == ["step,loss", "2,2", "3,7"]


def test_metrics_of_another_phase_start_a_new_mean_and_a_column(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        log.add(metrics(loss=1.0))
        log.write(1, log.means(ALONE))
        log.add(metrics(loss=100.0))
        log.add(metrics(loss=2.0, q=5.0))
        assert log.means(ALONE) == {"loss": 2.0, "q": 5.0}
        log.write(3, log.means(ALONE))
    expected = ["step,loss,q", "1,1,", "3,2,5"]
    assert (tmp_path / "metrics.csv").read_text().split() == expected


def test_lines_after_the_step_that_a_run_continues_from_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n2,9\n4,8\n6,7\n")
    with MetricsLog(tmp_path, 4) as log:
        log.add(metrics(loss=1.5))
        log.write(5, log.means(ALONE))
    expected = ["step,loss", "2,9", "4,8", "5,1.5"]
    assert (tmp_path / "metrics.csv").read_text().split() == expected


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    with MetricsLog(None, 0) as log:
        log.add(metrics(loss=1.0))
        log.write(1, log.means(ALONE))
        log.add(metrics(loss=3.0))
        assert log.means(ALONE) == {"loss": 3.0}
    assert not list(tmp_path.iterdir())


def test_lowest_mean_up_to_a_checkpoint(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        for step, value in ((1, 3.0), (2, 5.0), (3, 1.0), (4, 6.0), (5, 0.0), (6, 9.0)):
            log.add(metrics(loss=1.0, validation=value))
            log.write(step, log.means(ALONE))
        assert log.lowest("validation", [0, 2, 4, 6]) == (4, 3.5)
        assert log.lowest("other", [0, 2, 4, 6]) is None
    with MetricsLog(tmp_path, 4) as again:
        assert again.lowest("validation", [0, 2, 4]) == (4, 3.5)
