"""Loggers beside metrics.csv: what Weights & Biases is given, and what is said without it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ptr_training.errors import TrainingError
from ptr_training.training.config import load_config
from ptr_training.training.loggers import STEP
from ptr_training.training.train import pretrain


class FakeWandb(SimpleNamespace):
    """The few functions of wandb that are called, which note their arguments."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.logged: list[dict[str, float]] = []
        self.finished = 0

    def init(self, **options: Any) -> FakeWandb:
        self.started.append(options)
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("*", STEP)

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    """Return what is imported as wandb."""
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    return fake


@pytest.fixture
def command(tmp_path: Path, preset: str, make_store) -> list[str]:
    """Return the command of a run that logs to wandb."""
    where = ["--data", str(make_store("prior")), "--out", str(tmp_path / "run")]
    return ["--config", preset, *where, "--set", "wandb=offline"]


def test_wandb_is_given_the_lines_of_the_metrics(
    tmp_path: Path, wandb: FakeWandb, command: list[str]
) -> None:
    watching = ["--holdout", "1", "--set", "pretrain.evaluate_every=6"]
    pretrain([*command, *watching])
    (options,) = wandb.started
    assert options["mode"] == "offline"
    assert options["dir"] == str(tmp_path / "run")
    assert options["name"] == f"{tmp_path.name}/run"
    assert options["config"]["agent"]["name"] == "cql"
    assert [values[STEP] for values in wandb.logged] == [2, 4, 6, 6]
    assert {"loss", "heldout/spearman"} <= {name for line in wandb.logged for name in line}
    assert wandb.finished == 1


def test_a_resumed_run_goes_on_under_its_id(wandb: FakeWandb, command: list[str]) -> None:
    pretrain([*command, "--steps", "3"])
    pretrain([*command, "--resume"])
    first, second = (options["id"] for options in wandb.started)
    assert first == second
    assert wandb.finished == 2


def test_a_project_may_be_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, wandb: FakeWandb, command: list[str]
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "arms")
    pretrain([*command, "--steps", "1"])
    assert wandb.started[0]["project"] == "arms"


def test_without_the_package_the_run_does_not_start_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # its import fails
    message = r"wandb is offline, but .*pip install -r requirements/optional/wandb.txt"
    with pytest.raises(TrainingError, match=message):
        pretrain(command)
    assert not (tmp_path / "run").exists()


def test_a_run_without_wandb_does_not_import_it(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    pretrain([*command[:-1], "wandb=disabled"])


def test_an_unknown_mode_is_refused(preset: str) -> None:
    with pytest.raises(TrainingError, match="wandb is 'on-line'; it must be disabled, off"):
        load_config(preset, ["wandb=on-line"])
