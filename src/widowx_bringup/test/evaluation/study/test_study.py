"""Studies: the commands of a row, rows that build on others, rows that fail, and going on."""

from __future__ import annotations

import csv
import fcntl
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ptr_training.training.config import load_config
from widowx_bringup.evaluation.results import read_results
from widowx_bringup.evaluation.study.commands import Study
from widowx_bringup.evaluation.study.plan import Row, StudyPlan, load_plan
from widowx_bringup.evaluation.study.stores import StudyError
from widowx_bringup.evaluation.study.study import main
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


def study_of(plan: StudyPlan, out: Path = Path("out")) -> Study:
    given = {"prior": Path("prior"), "target": Path("target")}
    return Study(plan, given, TASK, out, rollouts=1, max_steps=2, seed=0)


def commands(name: str, plan: str = "paper") -> list[str]:
    study = study_of(load_plan(plan))
    return [" ".join(command) for command in study.commands(study.plan.rows[name])]


def test_a_row_pre_trains_fine_tunes_selects_bundles_and_evaluates() -> None:
    verbs = [command.split()[0] for command in commands("ptr")]
    assert verbs == ["pretrain", "finetune", "select", "bundle", "evaluate"]
    assert "--base ptr=demo_cql" in commands("reward_last_1", "demo")[0]


def test_zero_shot_deploys_the_pre_training_of_another_row() -> None:
    bundle, evaluate = commands("cql_zero_shot")
    assert bundle.startswith("bundle out/ptr/pretrain --out out/cql_zero_shot/bundle")
    assert "--policy cql_zero_shot=out/cql_zero_shot/bundle" in evaluate


def test_a_row_may_deploy_the_run_of_another_in_another_way() -> None:
    bundle, evaluate = commands("ptr_mode", "q_decides")
    ways = "--act mode --no-draw-gripper"
    assert bundle.startswith(f"bundle out/ptr/finetune {ways} --out out/ptr_mode/bundle")
    assert "--policy ptr_mode=out/ptr_mode/bundle" in evaluate
    assert load_plan("q_decides").rows["ptr_mode"].needs == {"ptr"}


def test_joint_training_begins_from_scratch_with_prior_data() -> None:
    first = commands("cql_joint")[0]
    assert first.startswith("finetune --config cql_joint")
    assert "--prior prior" in first
    assert "--prior" not in commands("target_only")[0]


def test_a_row_names_the_runs_of_those_it_builds_on() -> None:
    assert "agent.critic=out/ptr/finetune" in commands("awbc")[0]
    assert "--from out/bc/pretrain" in commands("awbc")[0]
    assert "network.weights=out/mae/pretrain" in commands("mae_bc")[0]
    assert "--retarget" in commands("macaw_retarget")[0]


@pytest.mark.parametrize("plan", ["paper", "demo"])
def test_every_finetuning_holds_out_what_its_checkpoint_is_chosen_by(plan: str) -> None:
    study = study_of(load_plan(plan))
    for row in study.plan.rows.values():
        if "finetune" in row.stages:
            bases = dict(base.split("=") for base in study._bases(row))
            config = load_config(row.preset, study._settings(row), bases)
            assert config.finetune.holdout >= 1, row.name


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
    tmp_path: Path, stores: list[str], capfd: pytest.CaptureFixture[str]
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
    rows_written = json.loads((out / "study.json").read_text())["rows"]
    assert [row["step"] for row in rows_written if row["name"] == "ptr"] == [2]
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    assert main([*arguments, "--only", "zero"]) == 0  # all there: nothing runs again
    assert "$ ptr" not in capfd.readouterr().out
    judge = [*arguments, "--only", "ptr", "--every-checkpoint"]
    assert main(judge) == 0
    assert re.findall(r"\$ ptr (\w+)", capfd.readouterr().out) == ["evaluate"]
    (line,) = csv.DictReader((out / "checkpoints.csv").open())
    assert (line["step"], float(line["rate"])) == ("2", 0.0)


def test_a_plan_simulates_its_data_anew_for_each_seed_and_the_camera_stays_where_it_was(
    tmp_path: Path, stores: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    small = {"camera_size": "48x64", "image_size": 32, "workers": 1}
    small |= {"episodes_per_task": 2}
    raised = {**small, "tasks": ["{task}"], "seed": 1000, "camera_rise": 0.07}
    row = {"title": "BC", "preset": "demo_bc", "stages": ["finetune"], "settings": FEW}
    row |= {"mix_prior": False, "target": "raised"}
    content = {"rows": {"bc": row}, "data": {"raised": raised}, "task": TASK}
    plan, out = tmp_path / "plan.yaml", tmp_path / "study"
    plan.write_text(yaml.safe_dump({**content, "rollouts": 1, "seeds": 1}))
    assert main([str(plan), "--out", str(out), "--max-steps", "2", "--seed", "3"]) == 0
    info = yaml.safe_load((out / "seed_3/data/raised/card.yaml").read_text())
    assert info["sources"][0]["camera_shift"]["rise"] == 0.07
    assert info["sources"][0]["seed"] == 1003
    scenes = json.loads((out / "seed_3/bc/evaluation/scenes.json").read_text())
    assert scenes["plan"]["camera_rise"] == 0.07
    study = study_of(StudyPlan({"bc": Row("bc", "BC", "bc")}), out)
    given = {"target": out / "seed_3/data/raised"}  # where the camera stood is in the card
    command = replace(study, given=given).commands(study.plan.rows["bc"])[-1]
    assert "camera_rise:=0.07" in command
    assert "data raised, seed 3: " in capfd.readouterr().out
    with pytest.raises(
        StudyError, match="no data of its own; give the store of prior data"
    ):
        main(["paper", "--out", str(tmp_path / "other")])


def test_a_study_in_pieces_stops_in_time_and_goes_on(
    tmp_path: Path, stores: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    many = [*FEW, "pretrain.steps=1000000", "pretrain.checkpoint_every=1000000"]
    row = {"title": "0-shot", "preset": "demo_bc", "stages": ["pretrain"]}
    row |= {"evaluate": False}
    plan, out = tmp_path / "plan.yaml", tmp_path / "study"
    plan.write_text(yaml.safe_dump({"rows": {"zero": {**row, "settings": many}}}))
    arguments = [str(plan), *stores, "--out", str(out)]
    assert main([*arguments, "--minutes", "0.4"]) == 3
    assert "stopped after 0.4 minutes; the same command goes on" in capfd.readouterr().out
    run = out / "zero" / "pretrain"
    steps = [int(path.stem.split("_")[1]) for path in (run / "checkpoints").glob("*.pt")]
    reached = max(steps)
    assert reached > 0
    settings = [*FEW, f"pretrain.steps={reached + 2}", "pretrain.checkpoint_every=1000000"]
    plan.write_text(yaml.safe_dump({"rows": {"zero": {**row, "settings": settings}}}))
    assert main(arguments) == 0
    assert (run / "checkpoints" / f"step_{reached + 2}.pt").is_file()


def test_processes_share_the_training_of_a_row(
    tmp_path: Path, stores: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"title": "0-shot", "preset": "demo_bc", "stages": ["pretrain"], "settings": FEW}
    rows = {"odd": {**row, "settings": [*FEW, "batch_size=5"]}}
    plan, out = tmp_path / "plan.yaml", tmp_path / "study"
    plan.write_text(yaml.safe_dump({"rows": rows}))
    few = ["--rollouts", "1", "--max-steps", "2", "--processes", "2"]
    assert main([str(plan), *stores, "--out", str(out), *few]) == 1
    assert "must be a multiple of the 2 processes" in (out / "odd" / "log.txt").read_text()


def test_rows_without_their_data_fail_and_the_others_go_on(
    tmp_path: Path, stores: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"title": "0-shot", "preset": "demo_bc", "stages": ["pretrain"], "settings": FEW}
    impossible = {"tasks": ["put the red cub"], "workers": 1}
    rows = {"good": row, "bad": {**row, "title": "bad", "prior": "impossible"}}
    plan, out = tmp_path / "plan.yaml", tmp_path / "study"
    plan.write_text(yaml.safe_dump({"rows": rows, "data": {"impossible": impossible}}))
    arguments = [str(plan), *stores, "--out", str(out), "--max-steps", "2"]
    assert main([*arguments, "--rollouts", "1"]) == 1
    printed = capfd.readouterr().out
    assert (
        "bad failed: data impossible: ptr collect: unknown task 'put the red cub'"
        in printed
    )
    assert "good: done in" in printed.replace(", seed 0", "")


def test_a_study_with_seeds_trains_each_on_its_data_and_evaluates_all_on_the_same_scenes(
    tmp_path: Path, stores: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"title": "0-shot", "preset": "demo_bc", "stages": ["pretrain"], "settings": FEW}
    rows = {"zero": row}
    plan, out = tmp_path / "plan.yaml", tmp_path / "study"
    plan.write_text(yaml.safe_dump({"rows": rows}))
    for seed in ("4", "5"):
        shutil.copytree(stores[1], tmp_path / f"prior{seed}")
    data = ["--prior", str(tmp_path / "prior{seed}"), *stores[2:]]
    few = ["--rollouts", "2", "--max-steps", "2", "--seed", "4", "--seeds", "2"]
    arguments = [str(plan), *data, "--out", str(out), *few]
    assert main(arguments) == 0
    first = capfd.readouterr().out
    scenes = set()
    for seed in (4, 5):
        used = json.loads((out / f"seed_{seed}/zero/pretrain/data.json").read_text())
        assert used["prior"][0]["path"].endswith(f"prior{seed}")
        for name in rows:
            rollouts = read_results(out / f"seed_{seed}" / name / "evaluation")
            scenes.add(tuple(rollout.layout_seed for rollout in rollouts))
    assert len(scenes) == 1
    lines = list(csv.DictReader((out / "study.csv").open()))
    assert [line["seed"] for line in lines] == ["4", "5", "all"]
    assert lines[2]["rollouts"] == "4"
    assert main(arguments) == 0  # all there: nothing runs again
    again = capfd.readouterr().out
    assert "$ ptr" not in again
    assert again.splitlines()[-5:] == first.splitlines()[-5:]


def test_two_processes_do_not_run_one_study(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="another process runs the study in"):
            main(["tiny", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
