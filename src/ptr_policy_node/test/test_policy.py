"""The loaded policy: what it computes, and the mismatches for which a bundle is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from toy_bundle import CAMERA, INFO, Toy, edit, golden, programs, write

from ptr_policy_node.backends import Backend
from ptr_policy_node.bundle import FORMS, BundleError, write_bundle
from ptr_policy_node.policy import Policy, load_bundle, share_of_other


@pytest.fixture(params=FORMS)
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write(tmp_path / "bundle", form=request.param)
    return tmp_path / "bundle"


def test_loaded_policy_acts_as_the_module(bundle: Path) -> None:
    policy = load_bundle(bundle, camera=CAMERA, rate=5.0)
    assert policy.info == INFO
    image, proprio = np.full((24, 32, 3), 51, np.uint8), np.arange(7.0)
    output = policy.act(image, proprio, "b")
    np.testing.assert_allclose(output.action, 0.01 * (proprio + 0.2 + 1), rtol=1e-5)
    expected = [output.action.sum(), output.action.sum() - 1]
    np.testing.assert_allclose(policy.q_values(output), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 7}, "format version is 7, expected 1"),
        (
            {"action__names": ["dx"]},
            r"action names is \('dx',\) in the bundle, \('dx', 'dy'",
        ),
        ({"action__low": [0.0] * 7}, "action low is"),
        ({"action__high": [9.0] * 7}, "action high is"),
        (
            {"action__frame": "tool"},
            "action frame is 'tool' in the bundle, 'base_link' here",
        ),
        ({"action__gripper": "1 closed"}, "gripper sense is '1 closed'"),
        ({"proprio": ["x"]}, "proprio names is"),
        ({"camera__name": "wrist"}, "camera name is 'wrist' in the bundle, 'front' here"),
        (
            {"camera__width": 640},
            r"camera size is \(640, 24\) in the bundle, \(32, 24\) here",
        ),
        (
            {"image__resize": "lanczos"},
            "image pipeline is 'lanczos' in the bundle, 'cv2.INTER_AREA' here",
        ),
        ({"rate": 10.0}, "rate is 10.0 in the bundle, 5.0 here"),
    ],
)
def test_mismatch_is_refused_by_name(
    bundle: Path, changes: dict[str, Any], message: str
) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle, camera=CAMERA, rate=5.0)


def test_golden_garbage_is_refused(bundle: Path) -> None:
    (bundle / "golden.npz").write_bytes(b"garbage")
    edit(bundle)
    with pytest.raises(BundleError, match="truncated or incomplete"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("action", 0.001, "action"),
        ("q", 0.1, "Q"),
        ("q", np.nan, "Q"),
        ("resized", 9, "resized image"),
    ],
)
def test_computer_that_does_not_reproduce_the_policy_is_refused(
    tmp_path: Path, name: str, change: float, what: str
) -> None:
    altered = golden()[name] + np.asarray(change).astype(golden()[name].dtype)
    write(tmp_path / "bundle", **{name: altered})
    with pytest.raises(BundleError, match=f"golden {what} 0 differs by"):
        load_bundle(tmp_path / "bundle")


def test_bundle_without_golden_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "bundle", **{name: value[:0] for name, value in golden().items()})
    with pytest.raises(BundleError, match="holds no golden image"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("image", "proprio", "task", "message"),
    [
        (
            np.zeros((48, 64, 3), np.uint8),
            np.zeros(7),
            "a",
            r"image is uint8 \(48, 64, 3\), the bundle expects",
        ),
        (np.zeros((24, 32, 3), np.float32), np.zeros(7), "a", "image is float32"),
        (
            np.zeros((24, 32, 3), np.uint8),
            np.full(7, np.nan),
            "a",
            "expected 7 finite values",
        ),
        (np.zeros((24, 32, 3), np.uint8), np.zeros(6), "a", "expected 7 finite values"),
        (
            np.zeros((24, 32, 3), np.uint8),
            np.zeros(7),
            "c",
            "unknown task 'c'; known are: 'a', 'b'",
        ),
    ],
)
def test_bad_input_is_refused(
    bundle: Path, image: np.ndarray, proprio: np.ndarray, task: str, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle).act(image, proprio, task)


def test_action_that_is_not_finite_never_leaves_the_policy(tmp_path: Path) -> None:
    module = Toy()
    with torch.no_grad():
        module.gain.fill_(1e37)
    values = golden()
    values["proprio"] = values["proprio"] * 0
    inputs = [torch.from_numpy(values[name]) for name in ("resized", "proprio", "task")]
    with torch.no_grad():
        action, _ = module.act(*inputs)
    values |= {"action": action.numpy(), "q": module.q(*inputs, action).numpy()}
    write_bundle(tmp_path / "bundle", INFO, programs(module, "export"), values)
    with pytest.raises(BundleError, match="the policy's action is not finite"):
        load_bundle(tmp_path / "bundle").act(
            np.zeros((24, 32, 3), np.uint8), np.full(7, 1e3), "a"
        )


class LastValues:
    """A backend that acts by the states it was given, and judges by the action."""

    def act(
        self, image: torch.Tensor, proprio: torch.Tensor, task: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert image.shape[:2] == proprio.shape[:2]
        action = proprio[:, :, 0].repeat(1, 3)[:, :7]
        return action, torch.zeros_like(action)

    def q(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[-1][:, :2]


def test_a_history_repeats_the_first_observation_of_each_episode() -> None:
    info = replace(INFO, history=3)
    policy = Policy(info, "id", cast(Backend, LastValues()), "test")
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)

    def states_seen(value: float) -> list[float]:
        return policy.act(image, np.full(7, value), "a").action[:3].tolist()

    assert states_seen(1) == [1, 1, 1]
    assert states_seen(2) == [1, 1, 2]
    assert states_seen(3) == [1, 2, 3]
    assert states_seen(4) == [2, 3, 4]
    policy.reset()
    assert states_seen(5) == [5, 5, 5]


class Plans:
    """A backend that plans the first state's value and so many steps more."""

    def __init__(self, actions: int) -> None:
        self.actions = actions

    def act(
        self, image: torch.Tensor, proprio: torch.Tensor, task: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        steps = torch.arange(self.actions).float()
        action = (proprio[:, :1] + steps)[:, :, None].repeat(1, 1, 7)
        return action, torch.zeros_like(action)


def planned(actions: int, execute: int = 3) -> Policy:
    """Return a policy whose program plans some actions."""
    info = replace(INFO, execute=execute)
    return Policy(info, "id", cast(Backend, Plans(actions)), "test")


def first_of(policy: Policy, value: float, task: str = "a") -> float:
    """Return the first number of the action that follows from a state of equal values."""
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    output = policy.act(image, np.full(7, value), task)
    assert output.action.shape == output.std.shape == (7,)
    return float(output.action[0])


def test_a_plan_is_executed_to_its_end_then_the_next_one_is_made() -> None:
    policy = planned(3)
    assert [first_of(policy, value) for value in (10, 20, 30, 40, 50)] == [
        10,
        11,
        12,
        40,
        41,
    ]


@pytest.mark.parametrize("drop", [Policy.reset, Policy.interrupt])
def test_a_plan_that_is_dropped_is_made_anew(drop: Callable[[Policy], None]) -> None:
    policy = planned(3)
    assert first_of(policy, 10) == 10
    drop(policy)
    assert first_of(policy, 20) == 20


def test_a_plan_is_not_executed_for_another_task() -> None:
    policy = planned(3)
    assert [first_of(policy, 10, "a"), first_of(policy, 20, "b")] == [10, 20]


def test_every_action_of_a_plan_is_checked() -> None:
    policy = planned(3)
    assert first_of(policy, -np.finfo(np.float32).max) < 0
    policy._plan[0].action[0] = np.inf
    with pytest.raises(BundleError, match="the policy's action is not finite"):
        first_of(policy, 20)
    assert first_of(policy, 30) == 30  # nothing of that plan is left
    with pytest.raises(BundleError, match="expected 7 finite values"):
        first_of(policy, np.nan)  # inputs are checked as well where they are not needed


@pytest.mark.parametrize("actions", [2, 4])
def test_a_program_that_plans_another_number_of_actions_is_refused(actions: int) -> None:
    with pytest.raises(
        BundleError, match=rf"shape \(1, {actions}, 7\); with execute 3 .* \(1, 3, 7\)"
    ):
        first_of(planned(actions), 10)


def test_values_are_those_of_the_action_that_was_returned(bundle: Path) -> None:
    policy = load_bundle(bundle)
    image = np.full((CAMERA.height, CAMERA.width, 3), 200, np.uint8)
    first = policy.act(image, np.ones(7), "a")
    policy.act(image, np.zeros(7), "b")
    expected = [first.action.sum(), first.action.sum() - 1]
    np.testing.assert_allclose(policy.q_values(first), expected, rtol=1e-5)


def test_an_alias_acts_under_the_id_of_its_task(tmp_path: Path) -> None:
    write(tmp_path / "bundle", replace(INFO, aliases={"grasp it": "b"}))
    policy = load_bundle(tmp_path / "bundle")
    assert policy.task_id("grasp it") == policy.task_id("b") == 1
    with pytest.raises(
        BundleError, match="unknown task 'gasp it'; did you mean 'grasp it'"
    ):
        policy.task_id("gasp it")


class Gripper:
    """A backend that opens the gripper with a probability; its likelier value is 0.95."""

    def __init__(self, p: float) -> None:
        self.p = p

    def act(
        self, image: torch.Tensor, proprio: torch.Tensor, task: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        action, std = torch.zeros(1, 7), torch.zeros(1, 7)
        action[:, 6] = 0.95 if self.p >= 0.5 else 0.05
        std[:, 6] = 0.9 * (self.p * (1 - self.p)) ** 0.5
        return action, std


def grippers(p: float, steps: int, *, draws: bool = True) -> list[float]:
    """Return the gripper commands of an episode."""
    info = replace(INFO, draws_gripper=draws)
    policy = Policy(info, "id", cast(Backend, Gripper(p)), "test")
    policy.reset()
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    return [
        round(float(policy.act(image, np.zeros(7), "a").action[6]), 3) for _ in range(steps)
    ]


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_gripper_is_drawn_as_often_as_its_standard_deviation_says(p: float) -> None:
    commands = grippers(p, 3000)
    assert set(commands) == {0.05, 0.95}
    assert np.mean(np.array(commands) > 0.5) == pytest.approx(p, abs=0.03)
    assert set(grippers(p, 50, draws=False)) == {0.95 if p >= 0.5 else 0.05}


def test_equal_observations_give_equal_episodes() -> None:
    assert grippers(0.5, 30) == grippers(0.5, 30)


@pytest.mark.parametrize(
    ("std", "share"), [(0.0, 0.0), (np.nan, 0.0), (0.45, 0.5), (0.5, 0.5), (0.27, 0.1)]
)
def test_standard_deviation_of_two_values_gives_the_share_of_the_rarer(
    std: float, share: float
) -> None:
    assert share_of_other(std, 0.9) == pytest.approx(share)
