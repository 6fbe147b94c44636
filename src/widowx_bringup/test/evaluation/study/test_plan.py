"""Plans of studies: files, inheritance, order of rows, and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from widowx_bringup.evaluation.study.plan import StudyError, load_plan, with_needs


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
    assert set(plan.bases) <= {"ptr", "bc", "macaw"}


def test_a_plan_like_another_keeps_its_rows_and_bases(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("like: demo\nrows: {r3m_bc: {settings: [network.weights=r3m.pt]}}")
    plan, demo = load_plan(str(path)), load_plan("demo")
    assert plan.bases == demo.bases
    assert plan.rows["r3m_bc"].settings == ("network.weights=r3m.pt",)
    assert plan.rows["r3m_bc"].preset == demo.rows["r3m_bc"].preset
    assert plan.rows["macaw"] == demo.rows["macaw"]


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
    ],
)
def test_mistakes_in_a_plan_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(StudyError, match=message):
        load_plan(str(file))


def test_unknown_plan_names_those_there_are() -> None:
    with pytest.raises(StudyError, match=r"no plan 'mine' .*; known are: demo, paper"):
        load_plan("mine")


def test_rows_come_after_those_they_build_on() -> None:
    plan = load_plan("paper")
    names = [row.name for row in with_needs(plan, ["awbc"])]
    assert names == ["bc", "ptr", "awbc"]
    assert {row.name for row in with_needs(plan, [])} == set(plan.rows)


def test_an_unknown_row_is_refused_with_the_nearest() -> None:
    with pytest.raises(StudyError, match="no row 'awb' in the plan; did you mean awbc"):
        with_needs(load_plan("paper"), ["awb"])
