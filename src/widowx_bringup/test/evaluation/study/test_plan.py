"""Plans of studies: files, inheritance, order of rows, and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptr_training.training.config import load_config
from widowx_bringup.evaluation.study.plan import load_plan, with_needs
from widowx_bringup.evaluation.study.stores import StudyError, collecting
from widowx_bringup.graph.graphs import config_folder
from widowx_bringup.sim.families import door
from widowx_bringup.sim.tasks import parse_tasks

PLANS = sorted(path.stem for path in (config_folder() / "studies").glob("*.yaml"))


@pytest.mark.parametrize("name", PLANS)
def test_plans_name_presets_and_settings_that_exist(name: str) -> None:
    plan = load_plan(name)
    for row in plan.rows.values():
        settings = [text for text in row.settings if "{" not in text]
        if (
            "agent.name=awbc" not in settings
        ):  # takes the place of another agent when fine-tuning
            load_config(row.preset, settings)
    assert set(plan.bases) <= {"ptr", "bc", "macaw"}


def test_a_plan_like_another_keeps_its_rows_and_bases(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("like: demo\nrows: {r3m_bc: {settings: [network.weights=r3m.pt]}}")
    plan, demo = load_plan(str(path)), load_plan("demo")
    assert plan.bases == demo.bases
    assert plan.rows["r3m_bc"].settings == ("network.weights=r3m.pt",)
    assert plan.rows["r3m_bc"].preset == demo.rows["r3m_bc"].preset
    assert plan.rows["macaw"] == demo.rows["macaw"]


def test_a_plan_keeps_data_numbers_and_chosen_rows_of_the_one_it_is_like(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(
        "task: open the microwave\nrollouts: 7\nseeds: 3\ncaution: Too few rollouts.\n"
        "data: {prior: {waits: 0.5}, target: {seed: 1000}}\n"
        "rows: {a: {title: A, preset: ptr}, b: {title: B, preset: bc}}"
    )
    second.write_text(
        f"like: {first}\nonly: [b, c]\nseeds: 2\ndata: {{prior: {{waits: 0.1}}}}\n"
        "rows: {c: {title: C, preset: bc}}"
    )
    plan = load_plan(str(second))
    assert (plan.task, plan.rollouts, plan.seeds) == ("open the microwave", 7, 2)
    assert plan.data == {"prior": {"waits": 0.1}, "target": {"seed": 1000}}
    assert list(plan.rows) == ["b", "c"]
    assert plan.caution == "Too few rollouts."


@pytest.mark.parametrize("name", [name for name in PLANS if load_plan(name).data])
def test_plans_with_data_have_seeds_and_tasks_that_can_be_simulated(name: str) -> None:
    plan = load_plan(name)
    assert plan.seeds > 1
    for store, options in plan.data.items():
        command = collecting(store, options, task=plan.task, seed=0, out=Path("store"))
        assert parse_tasks(command[command.index("--tasks") + 1 :])
    known = {*parse_tasks(["prior"]), door.LABEL}
    assert {row.retarget for row in plan.rows.values()} - {""} <= known


def test_a_grid_is_a_row_for_each_combination(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    row = "a: {title: A, preset: bc, settings: [seed=1], grid: {x.y: [1, 2], z: [[3, 4]]}}"
    file.write_text(f"rows: {{{row}}}")
    rows = load_plan(str(file)).rows
    assert list(rows) == ["a_0", "a_1"]
    assert rows["a_1"].settings == ("seed=1", "x.y=2", "z=[3, 4]")
    assert rows["a_1"].title == "A, x.y=2 z=[3, 4]"
    sweep = load_plan("r3m_sweep").rows
    assert len(sweep) == 2 * 9 * 6
    hidden = load_config("r3m_cql", sweep["r3m_cql_53"].settings).network
    assert (hidden.hidden, hidden.dropout) == ((1024,) * 4, 0.8)


def test_a_row_reads_the_stores_that_its_own_training_needs() -> None:
    rows = load_plan("paper").rows
    assert rows["ptr"].stores == ["prior", "target"]
    assert rows["cql_zero_shot"].stores == []  # trained by another row
    assert rows["mae"].stores == ["prior"]
    assert rows["target_only"].stores == ["target"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: [1]", "it needs a section `rows`"),
        (
            "rows: {a: {title: A, preset: ptr, stage: [pretrain]}}",
            r"unknown key 'stage'; did you mean stages\?",
        ),
        ("rows: {a: {title: A}}", "row a needs a title and a preset"),
        (
            "rows: {a: {title: A, preset: ptr, stages: [train]}}",
            r"has stages \['train'\]; allowed are pretrain",
        ),
        (
            "rows: {a: {title: A, preset: ptr, pretrained: b}}",
            "row a builds on b, which is no row",
        ),
        ("rowz: {}\nrows: {}", r"unknown section 'rowz'; did you mean rows\?"),
        (
            "rows: {a: {title: A, preset: ptr, prior: cleen}}\ndata: {clean: {}}",
            r"reads the store 'cleen', which `data` does not have; did you mean clean\?",
        ),
        ("rows: {a: {title: A, preset: ptr, prior: false}}", "prior is False; it must be"),
        ("rows: {}\ndata: [clean]", "data must name stores"),
        ("rows: {}\ndata: {clean: 3}", "data: clean must have options"),
        ("rows: {}\ndata: {clean: {waitz: 0.5}}", "data: clean: `ptr collect` refuses"),
        ("rows: {}\ndata: {clean: {tasks: prior}}", "tasks is 'prior'; it must be a list"),
        ("rows: {}\ndata: {clean: {seed: x}}", "seed is 'x'; it must be a whole number"),
        ("rows: {}\ndata: {clean: {out: x}}", "a study has its own folder"),
        ("rows: {}\nseeds: three", "seeds is 'three'; it must be a whole number"),
        (
            "rows: {a: {title: A, preset: bc, grid: {z: 3}}}",
            "grid must have a list for each",
        ),
        ("rows: {}\nonly: [ptr]", "`only` names no row: known are"),
    ],
)
def test_mistakes_in_a_plan_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(StudyError, match=message):
        load_plan(str(file))


def test_unknown_plan_names_those_there_are() -> None:
    with pytest.raises(StudyError, match=r"no plan 'mine' .*; known are: .*demo, paper"):
        load_plan("mine")


def test_rows_come_after_those_they_build_on() -> None:
    plan = load_plan("paper")
    names = [row.name for row in with_needs(plan, ["awbc"])]
    assert names == ["bc", "ptr", "awbc"]
    assert {row.name for row in with_needs(plan, [])} == set(plan.rows)


def test_an_unknown_row_is_refused_with_the_nearest() -> None:
    with pytest.raises(StudyError, match="no row 'awb' in the plan; did you mean awbc"):
        with_needs(load_plan("paper"), ["awb"])
