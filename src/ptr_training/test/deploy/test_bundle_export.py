"""From checkpoint to bundle: the policy node's `Policy` acts as the agent does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from ptr_common.errors import PtrError
from ptr_common.images import resize_area
from ptr_policy_node.bundle import FORMS, CameraSpec, read_info
from ptr_policy_node.policy import load_bundle
from ptr_training.data.review import main as review
from ptr_training.data.store import EpisodeStore
from ptr_training.deploy.bundle_export import (
    N_REAL,
    N_SMOOTH,
    export,
    golden_inputs,
    main,
)
from ptr_training.deploy.checkpoint_selection import main as select
from ptr_training.errors import TrainingError
from ptr_training.training.build import restore_agent
from ptr_training.training.checkpoint import (
    chosen_step,
    find_checkpoint,
    load_checkpoint,
)
from ptr_training.training.train import finetune


@pytest.fixture(params=["cql", "bc"])
def run(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    preset_values: dict[str, Any],
    make_store,
) -> Path:
    if request.param == "bc":
        preset_values["agent"] = {"name": "bc", "lr": 1e-3}
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset_values))
    target = make_store("target", tasks=("new",), per_task=4)
    finetune(
        [
            "--config",
            str(tmp_path / "preset.yaml"),
            "--target",
            str(target),
            "--out",
            str(tmp_path / request.param),
        ]
    )
    return tmp_path / request.param


@pytest.mark.parametrize("form", FORMS)
def test_bundle_acts_as_the_agent(run: Path, tmp_path: Path, form: str) -> None:
    main([str(run), "--out", str(tmp_path / "bundle"), "--format", form])
    policy = load_bundle(tmp_path / "bundle", camera=CameraSpec("front", 48, 32), rate=5.0)
    assert policy.backend == f"{form} float32"
    module = (
        restore_agent(load_checkpoint(find_checkpoint(run)), torch.device("cpu"))
        .deployed()
        .eval()
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        image, proprio = rng.integers(0, 256, (32, 48, 3), np.uint8), rng.normal(size=7)
        output = policy.act(image, proprio, "new")
        inputs = (
            torch.from_numpy(resize_area(image, (16, 16)))[None],
            torch.tensor(proprio)[None].float(),
        )
        with torch.no_grad():
            action, std = module.act(*inputs, torch.tensor([0]))
            q = module.q(*inputs, torch.tensor([0]), action)
        np.testing.assert_allclose(output.action, action[0], atol=1e-5)
        np.testing.assert_allclose(output.std, std[0], atol=1e-5)
        values = policy.q_values(output)
        np.testing.assert_allclose(values, q[0], atol=1e-5)
        assert np.isnan(values).all() == (run.name == "bc")


DEPLOYED = {
    "autoregressive": {"name": "autoregressive", "bins": 11, "beam": 3},
    "bet": {"name": "bet", "window": 3, "bins": 5, "layers": 1, "heads": 2, "width": 16},
    "flow": {"name": "flow", "chunk": 4, "execute": 1, "flow_steps": 3},
    "flow-plan": {"name": "flow", "chunk": 4, "execute": 3, "flow_steps": 3},
    "macaw": {"name": "macaw", "tasks": 2, "transform": 4},
    "cql": {"name": "cql", "independent_encoders": True},
    "cql-hl-gauss": {"name": "cql", "value_loss": "hl_gauss", "act": "best_of_n"},
    "cql-hybrid-best": {
        "name": "cql",
        "gripper": "auto",
        "act": "best_of_n",
        "act_samples": 4,
    },
    "cql-weighted": {"name": "cql_weighted", "mc_weight": 1.0, "act": "best_of_n"},
    "iql": {"name": "iql", "gripper": "auto", "act": "best_of_n", "act_samples": 4},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DEPLOYED)
def test_every_kind_of_policy_is_deployed(
    name: str, form: str, tmp_path: Path, preset_values: dict, make_store
) -> None:
    preset_values |= {"agent": DEPLOYED[name]}
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset_values))
    target, run = make_store("target", tasks=("new",), per_task=4), tmp_path / "run"
    finetune(
        [
            "--config",
            str(tmp_path / "preset.yaml"),
            "--target",
            str(target),
            "--out",
            str(run),
        ]
    )
    main([str(run), "--out", str(tmp_path / "bundle"), "--format", form])
    policy = load_bundle(tmp_path / "bundle")
    assert policy.info.history == (3 if name == "bet" else 1)
    assert policy.info.execute == (3 if name == "flow-plan" else 1)
    assert np.isfinite(
        policy.act(np.zeros((32, 48, 3), np.uint8), np.zeros(7), "new").action
    ).all()


def test_policy_with_a_history_sees_what_came_before(
    tmp_path: Path, preset_values: dict, make_store
) -> None:
    preset_values |= {"agent": DEPLOYED["bet"]}
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset_values))
    target, run = make_store("target", tasks=("new",), per_task=4), tmp_path / "run"
    finetune(
        [
            "--config",
            str(tmp_path / "preset.yaml"),
            "--target",
            str(target),
            "--out",
            str(run),
        ]
    )
    main([str(run), "--out", str(tmp_path / "bundle")])
    policy = load_bundle(tmp_path / "bundle")
    module = (
        restore_agent(load_checkpoint(find_checkpoint(run)), torch.device("cpu"))
        .deployed()
        .eval()
    )
    rng = np.random.default_rng(0)
    seen = [
        (rng.integers(0, 256, (32, 48, 3), np.uint8), rng.normal(size=7).astype(np.float32))
        for _ in range(5)
    ]
    for start in (0, 2):  # two episodes
        policy.reset()
        for now in range(start, 5):
            window = [seen[max(start, now - back)] for back in (2, 1, 0)]
            images = np.stack([resize_area(image, (16, 16)) for image, _ in window])
            proprio = np.stack([state for _, state in window])
            with torch.no_grad():
                expected, _ = module.act(
                    torch.from_numpy(images)[None],
                    torch.from_numpy(proprio)[None],
                    torch.tensor([0]),
                )
            np.testing.assert_allclose(
                policy.act(*seen[now], "new").action, expected[0], atol=1e-5
            )


@pytest.mark.parametrize("form", FORMS)
def test_plan_is_executed_as_the_agent_made_it(
    tmp_path: Path, preset_values: dict, make_store, form: str
) -> None:
    preset_values |= {"agent": DEPLOYED["flow-plan"]}
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset_values))
    target, run = make_store("target", tasks=("new",), per_task=4), tmp_path / "run"
    config = ["--config", str(tmp_path / "preset.yaml")]
    finetune([*config, "--target", str(target), "--out", str(run)])
    select([str(run)])
    main([str(run), "--out", str(tmp_path / "bundle"), "--format", form])
    policy = load_bundle(tmp_path / "bundle")
    checkpoint = load_checkpoint(find_checkpoint(run, chosen_step(run)))
    module = restore_agent(checkpoint, torch.device("cpu")).deployed().eval()
    rng = np.random.default_rng(0)
    for step in range(6):
        image, proprio = rng.integers(0, 256, (32, 48, 3), np.uint8), rng.normal(size=7)
        if step % 3 == 0:
            inputs = (
                torch.from_numpy(resize_area(image, (16, 16)))[None],
                torch.tensor(proprio)[None].float(),
                torch.tensor([0]),
            )
            with torch.no_grad():
                plan = module.act(*inputs)[0][0]
        output = policy.act(image, proprio, "new")
        np.testing.assert_allclose(output.action, plan[step % 3], atol=1e-5)
        assert np.isnan(policy.q_values(output)).all()
    golden = np.load(tmp_path / "bundle" / "golden.npz")
    assert golden["action"].shape == (N_SMOOTH + N_REAL, 3, 7)


def test_retargeted_task_acts_under_the_known_id(
    run: Path, tmp_path: Path, make_store
) -> None:
    other = make_store("other", tasks=("renamed",), per_task=4)
    where = [
        "--target",
        str(other),
        "--out",
        str(tmp_path / "fine"),
        "--retarget",
        "renamed=new",
    ]
    finetune(["--from", str(run), *where])
    main([str(tmp_path / "fine"), "--out", str(tmp_path / "bundle")])
    policy = load_bundle(tmp_path / "bundle")
    assert policy.task_id("renamed") == policy.task_id("new") == 0
    with pytest.raises(PtrError, match="unknown task 'x'; known are: 'new', 'renamed'"):
        policy.task_id("x")


def test_programs_hold_the_weights_they_use_and_nothing_of_this_computer(
    run: Path, tmp_path: Path
) -> None:
    main([str(run), "--out", str(tmp_path / "bundle")])
    used = {"act.pt2": {"policy"}, "q.pt2": {"critic"} if run.name == "cql" else set()}
    for name, heads in used.items():
        weights = torch.export.load(tmp_path / "bundle" / name).state_dict
        assert {weight.split(".")[0] for weight in weights} & {"policy", "critic"} == heads
        assert str(Path.cwd()).encode() not in (tmp_path / "bundle" / name).read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_programs_that_differ_from_the_agent_are_refused(
    run: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(find_checkpoint(run))
    monkeypatch.setattr("ptr_training.deploy.bundle_export.PARITY", -1.0)
    with pytest.raises(
        TrainingError, match="the exported policy differs from the agent: action"
    ):
        export(checkpoint, run, tmp_path / "bundle", form)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("run", ["cql"], indirect=True)
def test_critic_chooses_where_it_is_asked_to(run: Path, tmp_path: Path, form: str) -> None:
    """Of 64 drawn motions one is better by min Q than the mode, almost everywhere."""
    better = 0
    policies = []
    for act in ("mode", "best_of_n"):
        out = tmp_path / act
        samples = ["--act-samples", "64"] if act == "best_of_n" else []
        main([str(run), "--out", str(out), "--format", form, "--act", act, *samples])
        policies.append(load_bundle(out))
        values = json.loads((out / "bundle.json").read_text())
        assert values["checkpoint"]["act"] == act
    rng = np.random.default_rng(0)
    for _ in range(10):
        image, proprio = rng.integers(0, 256, (32, 48, 3), np.uint8), rng.normal(size=7)
        values = []
        for policy in policies:
            outputs = [policy.act(image, proprio, "new") for _ in range(2)]
            np.testing.assert_array_equal(outputs[0].action, outputs[1].action)
            values.append(policy.q_values(outputs[0]).min())
        assert values[1] >= values[0] - 1e-6
        better += values[1] > values[0]
    assert better >= 8


@pytest.mark.parametrize("run", ["bc"], indirect=True)
def test_agent_without_critic_cannot_act_by_one(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"agent\.act=best_of_n: only .* and bc has none"
    ):
        main([str(run), "--out", str(tmp_path / "bundle"), "--act", "best_of_n"])
    assert not (tmp_path / "bundle").exists()


def test_bundle_says_where_it_came_from(run: Path, tmp_path: Path) -> None:
    main([str(run), "--step", "2", "--out", str(tmp_path / "bundle")])
    values = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert values["checkpoint"]["step"] == 2
    assert values["agent"] == run.name
    assert values["checkpoint"]["act"] == "mode"
    assert values["checkpoint"]["gripper"] == "continuous"
    assert values["tasks"] == ["new"]
    assert values["camera"] == {"name": "front", "width": 48, "height": 32}
    assert (
        values["data"]["target"]["sha256"]
        == json.loads((run / "data.json").read_text())["target"]["sha256"]
    )


def test_pictures_of_episodes_marked_bad_are_left_out(run: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(find_checkpoint(run))
    target = tmp_path / "target"
    store = EpisodeStore.open(target)
    review(
        [
            str(target),
            "--bad",
            *(entry.id for entry in store.entries[:-1]),
            "--reason",
            "dark",
        ]
    )
    last = store.episode(len(store) - 1).frames
    for frame, found in zip(
        (last[0], last[-1]), golden_inputs(checkpoint)["image"][[N_SMOOTH, -1]], strict=True
    ):
        np.testing.assert_array_equal(
            found, cv2.resize(frame, (48, 32), interpolation=cv2.INTER_LINEAR)
        )


def test_the_choice_of_select_is_exported(run: Path, tmp_path: Path) -> None:
    (run / "select").mkdir()
    (run / "select" / "choice.json").write_text('{"step": 0}')
    main([str(run), "--out", str(tmp_path / "bundle")])
    assert (
        json.loads((tmp_path / "bundle" / "bundle.json").read_text())["checkpoint"]["step"]
        == 0
    )


def test_existing_bundle_is_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(PtrError, match="exists already"):
        main([str(run), "--out", str(tmp_path / "bundle")])
    main([str(run), "--out", str(tmp_path / "bundle"), "--overwrite"])
    load_bundle(tmp_path / "bundle")


def test_full_disk_leaves_neither_bundle_nor_checkpoint(
    run: Path, tmp_path: Path, full_disk
) -> None:
    checkpoint = load_checkpoint(find_checkpoint(run))
    with full_disk(), pytest.raises(OSError, match="File too large"):
        main([str(run), "--out", str(tmp_path / "bundle")])
    with full_disk(), pytest.raises(OSError, match="File too large"):
        checkpoint.save(tmp_path / "checkpoint.pt")
    assert not [
        path
        for path in tmp_path.iterdir()
        if "bundle" in path.name or "checkpoint" in path.name
    ]


def test_a_bundle_says_whether_its_gripper_is_drawn(
    tmp_path: Path, preset_values: dict, make_store
) -> None:
    preset_values |= {"agent": DEPLOYED["cql-weighted"] | {"gripper": "binary"}}
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset_values))
    target, run = make_store("target", tasks=("new",), per_task=4), tmp_path / "run"
    where = ["--target", str(target), "--out", str(run)]
    finetune(["--config", str(tmp_path / "preset.yaml"), *where])
    for option, draws in ((), False), (("--draw-gripper",), True):
        out = tmp_path / f"bundle-{draws}"
        main([str(run), "--out", str(out), *option])
        assert load_bundle(out).info.draws_gripper == draws


@pytest.mark.parametrize("run", ["cql"], indirect=True)
def test_a_continuous_gripper_is_not_drawn(run: Path, tmp_path: Path) -> None:
    main([str(run), "--out", str(tmp_path / "bundle"), "--draw-gripper"])
    assert not load_bundle(tmp_path / "bundle").info.draws_gripper


def test_no_path_of_this_computer_leaves_it(run: Path, tmp_path: Path) -> None:
    for form in FORMS:
        main([str(run), "--out", str(tmp_path / form), "--format", form])
        for file in (tmp_path / form).iterdir():
            content = file.read_bytes()
            for folder in (tmp_path, Path(__file__).parent, Path(torch.__file__).parent):
                assert str(folder).encode() not in content, f"{file.name}: {folder}"
        checkpoint = read_info(tmp_path / form).checkpoint
        assert checkpoint["path"].startswith(f"{run.name}/checkpoints/step_")


@pytest.mark.parametrize("run", ["bc"], indirect=True)
def test_what_is_no_key_is_refused_before_a_bundle_is_made(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(PtrError, match=r"optional/signature\.txt|not a private key in PEM"):
        main([str(run), "--out", str(tmp_path / "b"), "--sign", str(run / "config.yaml")])
    assert not (tmp_path / "b").exists()
