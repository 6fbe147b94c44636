"""Studies with several seeds: folders and data of each, intervals, and the comparison of rows."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from widowx_bringup.evaluation.results import Summary
from widowx_bringup.evaluation.statistics import tango_interval, wilson_interval
from widowx_bringup.evaluation.study.commands import Study
from widowx_bringup.evaluation.study.plan import load_plan, with_needs
from widowx_bringup.evaluation.study.results import Outcome
from widowx_bringup.evaluation.study.seeds import (
    SeededRow,
    by_row,
    compare,
    effective_trials,
    table,
    write,
)
from widowx_bringup.evaluation.study.stores import StudyError
from widowx_bringup.evaluation.study.study import _seeds, _studies


def outcome(name: str, *solved: bool, problem: str = "", step: int = 300) -> Outcome:
    """Return the outcome of a row that was evaluated on a few scenes."""
    low, high = wilson_interval(sum(solved), len(solved))
    rate = sum(solved) / len(solved) if solved else 0.0
    summary = Summary(name, sum(solved), len(solved), 0, rate, low, high, 20.0, 0, 0, 0)
    return Outcome(
        name, name.upper(), "", 1.5, problem, step, summary if solved else None, solved
    )


def write_store(path: Path) -> None:
    """Write a store of one short episode."""
    zeros = np.zeros((3, 7), np.float32)
    episode = Episode(
        id="first",
        task="lift",
        frames=np.zeros((3, 8, 8, 3), np.uint8),
        stamps_ns=np.arange(3) * 200_000_000,
        proprio=zeros,
        requested=zeros[1:],
        executed=zeros[1:],
        outcome="success",
    )
    sizes = {"camera_width": 8, "camera_height": 8, "image_height": 8, "image_width": 8}
    with EpisodeWriter(path, DatasetInfo(path.name, "front", **sizes)) as writer:
        writer.add(episode)


def options(tmp_path: Path, **changes: object) -> Namespace:
    """Return options of a study whose stores exist for the seeds 0 to 2."""
    for seed in range(3):
        (tmp_path / f"prior{seed}").mkdir(exist_ok=True)
    if not (tmp_path / "target").exists():
        write_store(tmp_path / "target")
    values = {"plan": "demo", "prior": f"{tmp_path}/prior{{seed}}", "rollouts": 2}
    values |= {
        "target": str(tmp_path / "target"),
        "task": "put the red cube on the white plate",
    }
    values |= {"out": tmp_path / "out", "max_steps": 5, "seed": 0, "seeds": []}
    values |= {"every_checkpoint": False, "only": [], "processes": 1, **changes}
    return Namespace(**values)


def studies_of(chosen: Namespace) -> list[Study]:
    """Return the studies of chosen options."""
    plan = load_plan(chosen.plan)
    return _studies(chosen, plan, with_needs(plan, chosen.only))


@pytest.mark.parametrize(
    ("named", "start", "seeds"),
    [([], 4, [4]), ([3], 0, [0, 1, 2]), ([2], 5, [5, 6]), ([7, 1, 0], 4, [7, 1, 0])],
)
def test_one_number_is_how_many_and_several_are_the_seeds(
    named: list[int], start: int, seeds: list[int]
) -> None:
    assert _seeds(named, start) == seeds


@pytest.mark.parametrize(
    ("named", "message"),
    [([0], "--seeds 0 is no seed at all"), ([1, 2, 1], "names a seed twice")],
)
def test_seeds_that_make_no_sense_are_refused(named: list[int], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        _seeds(named, 0)


def test_every_seed_has_its_data_and_folder_and_all_have_the_same_scenes(
    tmp_path: Path,
) -> None:
    studies = studies_of(options(tmp_path, seeds=[2, 0]))
    assert [study.store("prior").name for study in studies] == ["prior2", "prior0"]
    assert {study.store("target").name for study in studies} == {"target"}
    assert [study.out.name for study in studies] == ["seed_2", "seed_0"]
    for study in studies:
        commands = study.commands(study.plan.rows["ptr"])
        pretrain, evaluate = commands[0], commands[-1]
        assert pretrain[pretrain.index("--seed") + 1] == str(study.seed)
        assert pretrain[pretrain.index("--data") + 1] == str(study.store("prior"))
        assert evaluate[evaluate.index("--seed") + 1] == str(2 + 77)


def test_one_seed_without_the_option_has_folder_and_scenes_as_ever(tmp_path: Path) -> None:
    (study,) = studies_of(options(tmp_path, seed=1))
    assert (study.out, study.seed, study.scene_seed) == (tmp_path / "out", 1, 78)


def test_a_seed_without_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"--prior .*/prior3 is no episode store \(seed 3\)"
    ):
        studies_of(options(tmp_path, seeds=[4]))


# Intervals


def test_a_single_seed_has_the_interval_of_its_scenes() -> None:
    row = SeededRow({0: outcome("ptr", True, True, False)})
    assert row.pooled is not None
    assert (row.pooled.low, row.pooled.high) == wilson_interval(2, 3)


@pytest.mark.parametrize("cells", [np.ones((3, 8)), np.zeros((3, 8)), np.eye(1, 5)])
def test_cells_without_variance_between_them_count_each(cells: np.ndarray) -> None:
    assert effective_trials(cells) == cells.size


def test_seeds_that_repeat_each_other_count_once() -> None:
    scenes = np.array([1.0] * 6 + [0.0] * 6)
    assert effective_trials(np.stack([scenes] * 3)) == pytest.approx(
        11.0
    )  # one is the mean's


def test_seeds_that_differ_count_as_many_as_they_are() -> None:
    cells = np.array([[1.0] * 50, [1.0] * 50, [0.0] * 50, [0.0] * 50])
    assert effective_trials(cells) == pytest.approx(3.0)


def test_independent_trials_count_each() -> None:
    rng = np.random.default_rng(0)
    cells = (rng.random((20, 200)) < 0.7).astype(float)
    assert 0.5 * cells.size < effective_trials(cells) <= cells.size


def test_the_interval_covers_the_rate_of_methods_that_vary_by_seed() -> None:
    """Seeds of 10 solve 50 to 90 % of the scenes: the mean is 70 %."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(400):
        rates = rng.uniform(0.5, 0.9, size=(10, 1))
        cells = (rng.random((10, 50)) < rates).astype(float)
        trials = effective_trials(cells)
        low, high = wilson_interval(cells.mean() * trials, trials)
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 400 <= 0.99
    # scenes alone, as if the 500 trials were independent, would cover less


# Rows


def make_rows() -> list[SeededRow]:
    outcomes = {
        0: [
            outcome("ptr", True, True, True, True),
            outcome("bc", True, False, False, False),
        ],
        3: [
            outcome("ptr", True, True, True, False),
            outcome("bc", problem="no space left"),
        ],
        5: [
            outcome("ptr", False, True, True, True),
            outcome("bc", True, True, False, False),
        ],
    }
    return by_row(outcomes)


def test_rows_are_compared_on_pairs_of_equal_seed_and_scene() -> None:
    ptr, bc = make_rows()
    found = compare(ptr, bc)
    assert found is not None
    assert (found.won, found.lost, found.scenes) == (5, 1, 8)  # seed 3 has no partner
    assert found.p == pytest.approx(2 * 7 / 64)
    low, high = tango_interval(5, 1, 8)
    assert found.low <= low
    assert found.high >= high
    assert compare(ptr, by_row({7: [outcome("bc", True)]})[0]) is None


def test_a_difference_that_one_seed_alone_has_is_less_certain() -> None:
    one_seed = {0: [outcome("a", *[True] * 20), outcome("b", *[False] * 20)]}
    nothing = [outcome("a", *[True] * 20), outcome("b", *[True] * 20)]
    alone = compare(*by_row({**one_seed, 1: nothing}))
    shared = [outcome("a", *[True] * 20), outcome("b", *[True, False] * 10)]
    both = compare(*by_row({0: shared, 1: shared}))
    assert alone is not None
    assert both is not None
    assert (alone.won, alone.lost) == (both.won, both.lost) == (20, 0)
    assert alone.low < 0.0 < both.low


def test_the_table_has_means_each_seed_and_what_failed() -> None:
    header, ptr, bc, failure = table(make_rows()).splitlines()
    assert header.split()[:3] == ["method", "success", "mean"]
    assert ptr.split()[:3] == ["PTR", "10/12", "83%"]
    assert "100% 75% 75%" in ptr
    assert bc.split()[:3] == ["BC", "3/8", "38%"]
    assert "25% 50%" in bc
    assert "5 : 1" in bc
    assert "+50 (" in bc
    assert "p = 0.2" in bc
    assert failure == "BC, seed 3 failed: no space left"


def test_files_have_every_seed_and_all_together(tmp_path: Path) -> None:
    write(tmp_path, make_rows(), {"plan": "demo"})
    with (tmp_path / "study.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["name"], line["seed"]) for line in lines] == [
        *(("ptr", seed) for seed in ("0", "3", "5", "all")),
        *(("bc", seed) for seed in ("0", "3", "5", "all")),
    ]
    assert (lines[3]["successes"], lines[3]["rollouts"]) == ("10", "12")
    assert (lines[5]["successes"], lines[5]["problem"]) == ("", "no space left")
    content = json.loads((tmp_path / "study.json").read_text())
    ptr, bc = content["rows"]
    assert ptr["first_against_this"] is None
    assert (bc["first_against_this"]["won"], bc["first_against_this"]["lost"]) == (5, 1)
    assert list(bc["seeds"]) == ["0", "3", "5"]
    assert bc["pooled"]["effective"] <= 8
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
