"""Studies: plans, the commands of a row, rows that build on others, rows that fail, and going on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from widowx_bringup.evaluation.study import (
    Plan,
    Study,
    StudyError,
    load_plan,
    main,
    with_needs,
)
from widowx_bringup.sim import collect, rendering
from widowx_bringup.sim.rendering import RenderingError
from widowx_bringup.sim.tasks import TARGET_TASK

TASK = "put the red cube on the white plate"
FEW = [
    "pretrain.steps=2",
    "finetune.steps=2",
    "finetune.checkpoint_every=2",
    "finetune.holdout=1",
    "batch_size=4",
]


def study_of(plan: Plan, out: Path = Path("out")) -> Study:
    return Study(
        plan, Path("prior"), Path("target"), TASK, out, rollouts=1, max_steps=2, seed=0
    )


def commands(name: str, plan: str = "paper") -> list[str]:
    study = study_of(load_plan(plan))
    return [" ".join(each) for each in study.commands(study.plan.rows[name])]


@pytest.mark.parametrize("name", ["paper", "demo"])
def test_plans_name_presets_and_settings_that_exist(name: str) -> None:
    from ptr_training.training.config import load_config

    plan = load_plan(name)
    for row in plan.rows.values():
        settings = [text for text in row.settings if "{" not in text]
        if (
            "agent.name=awbc" not in settings
        ):  # takes the place of another agent when fine-tuning
            load_config(row.preset, settings)
    assert set(plan.bases) <= {"ptr", "bc"}


def test_a_row_pre_trains_fine_tunes_selects_bundles_and_evaluates() -> None:
    verbs = [command.split()[0] for command in commands("ptr")]
    assert verbs == ["pretrain", "finetune", "select", "bundle", "evaluate"]
    assert "--base ptr=demo_ptr" in commands("reward_last_1", "demo")[0]


def test_a_plan_like_another_keeps_its_rows_and_bases(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("like: demo\nrows: {r3m_bc: {settings: [network.weights=r3m.pt]}}")
    plan, demo = load_plan(str(path)), load_plan("demo")
    assert plan.bases == demo.bases
    assert plan.rows["r3m_bc"].settings == ("network.weights=r3m.pt",)
    assert plan.rows["r3m_bc"].preset == demo.rows["r3m_bc"].preset
    assert plan.rows["macaw"] == demo.rows["macaw"]


def test_zero_shot_deploys_the_pre_training_of_another_row() -> None:
    bundle, evaluate = commands("cql_zero_shot")
    assert bundle.startswith("bundle out/ptr/pretrain --out out/cql_zero_shot/bundle")
    assert "--policy cql_zero_shot=out/cql_zero_shot/bundle" in evaluate


def test_joint_training_begins_from_scratch_with_prior_data() -> None:
    first = commands("cql_joint")[0]
    assert first.startswith("finetune --config cql_joint")
    assert "--prior prior" in first
    assert "--prior" not in commands("target_only")[0]


def test_rows_come_after_those_they_build_on() -> None:
    plan = load_plan("paper")
    assert [row.name for row in with_needs(plan, ["awbc"])] == ["bc", "ptr", "awbc"]
    assert "agent.critic=out/ptr/finetune" in commands("awbc")[0]
    assert "--from out/bc/pretrain" in commands("awbc")[0]
    assert "network.weights=out/mae/pretrain" in commands("mae_bc")[0]
    assert "--retarget" in commands("macaw_retarget")[0]
    with pytest.raises(StudyError, match="there is no row 'x'; rows are ptr, bc"):
        with_needs(plan, ["x"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: [1]", "it needs a section `rows`"),
        (
            "rows: {a: {title: A, preset: ptr, stage: [pretrain]}}",
            "unknown key 'stage'; did you mean stages",
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
    ],
)
def test_mistakes_in_a_plan_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(StudyError, match=message):
        load_plan(str(file))


def test_unknown_plan_names_those_there_are() -> None:
    with pytest.raises(StudyError, match=r"no plan 'mine'; .*: demo, paper"):
        load_plan("mine")


@pytest.fixture
def stores(tmp_path: Path) -> list[str]:
    """Return the arguments that name a tiny prior and a tiny target store."""
    try:
        rendering.choose_backend()
    except RenderingError as error:
        pytest.skip(str(error))
    small = [
        "--camera-size",
        "48x64",
        "--image-size",
        "32",
        "--workers",
        "1",
        "--episodes-per-task",
        "3",
    ]
    for name, task in (("prior", TASK), ("target", TARGET_TASK)):
        assert collect.main(["--out", str(tmp_path / name), "--tasks", task, *small]) == 0
    return ["--prior", str(tmp_path / "prior"), "--target", str(tmp_path / "target")]


def test_a_study_trains_evaluates_and_goes_on(
    tmp_path: Path, stores: list[str], capfd
) -> None:
    rows = {
        "ptr": {
            "title": "PTR",
            "preset": "demo_ptr",
            "settings": [*FEW, "agent.clone_steps=1"],
            "source": "Table 1",
        },
        "zero": {
            "title": "0-shot",
            "preset": "demo_ptr",
            "pretrained": "ptr",
            "stages": ["pretrain"],
        },
        "broken": {"title": "broken", "preset": "demo_bc", "settings": ["agent.lr=fast"]},
        "after": {"title": "after", "preset": "demo_bc", "pretrained": "broken"},
    }
    plan, out = tmp_path / "plan.yaml", tmp_path / "study"
    plan.write_text(yaml.safe_dump({"rows": rows}))
    arguments = [
        str(plan),
        *stores,
        "--out",
        str(out),
        "--rollouts",
        "1",
        "--max-steps",
        "2",
    ]
    assert main(arguments) == 1
    printed = capfd.readouterr().out
    assert "failed: ptr pretrain: agent.lr is 'fast'; expected float" in printed
    assert "failed: builds on broken, which failed" in printed
    results = {row["name"]: row for row in csv.DictReader((out / "study.csv").open())}
    assert [results[name]["rollouts"] for name in rows] == ["1", "1", "", ""]
    assert {
        row["name"]: row["step"]
        for row in json.loads((out / "study.json").read_text())["rows"]
    }["ptr"] == 2
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    assert main([*arguments, "--only", "zero"]) == 0  # all there: nothing runs again
    assert "$ ptr" not in capfd.readouterr().out
