"""From keys to steps, and what a set of demonstrations lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scripted_bags import FAILURE, Script, write

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.teleop.mapping import (
    ENOUGH,
    MOTIONS,
    PRESSES,
    Button,
    Demonstration,
    Keys,
    TeleopInput,
    TeleopMapper,
    lacking,
    recorded,
)

NOTHING = TeleopInput()


def demonstration(
    seed: int = 0, length: int = 20, idle: int = 0, grips: bool = True
) -> Demonstration:
    rng = np.random.default_rng(seed)
    actions = np.zeros((length, 7))
    actions[idle:, :3] = rng.uniform(0.01, 0.03, (length - idle, 3))
    actions[:, 6] = 1.0
    if grips:
        actions[length // 2 :, 6] = 0.0
    proprio = np.zeros((length, 7))
    proprio[:, :3] = rng.uniform(0.2, 0.4, 3) + np.cumsum(actions[:, :3], 0)
    return Demonstration(proprio, actions)


@given(arrays.arrays(float, 6, elements=st.floats()), st.booleans(), st.floats(-10, 10))
def test_whatever_a_device_tells_the_step_is_within_its_bounds(
    motion: np.ndarray, held: bool, speed: float
) -> None:
    action = TeleopMapper(speed).action(TeleopInput(motion, held))
    assert np.isfinite(action).all()
    assert (action >= ACTION_LOW).all()
    assert (action <= ACTION_HIGH).all()


@given(arrays.arrays(float, 6, elements=st.floats(-1, 1)))
def test_nothing_moves_unless_the_dead_man_switch_is_held(motion: np.ndarray) -> None:
    assert not TeleopMapper().action(TeleopInput(motion, held=False))[:6].any()


def test_presses_change_gripper_and_speed() -> None:
    pilot = TeleopMapper(0.4)
    pilot.press(Button.GRIPPER)
    assert pilot.action(NOTHING)[6] == 0.0
    pilot.press(Button.GRIPPER)
    assert pilot.action(NOTHING)[6] == 1.0
    pilot.press(Button.FASTER)
    assert pilot.speed == pytest.approx(0.5)
    for _ in range(20):
        pilot.press(Button.FASTER)
    assert pilot.action(TeleopInput(np.ones(6), True))[0] == pytest.approx(0.05)


def test_a_tap_moves_for_one_step_and_a_held_key_until_it_is_released() -> None:
    keys = Keys()
    keys.type("w", 0.0)
    assert keys.wish((), 0.1).motion[0] == 1.0
    assert not keys.wish((), 0.21).held
    for now in np.arange(0.5, 2.0, 0.033):  # a terminal repeats it
        keys.type("w", float(now))
    assert keys.wish((), 2.1).held
    assert not keys.wish((), 2.2).held


def test_opposite_keys_cancel_and_others_add_up() -> None:
    keys = Keys()
    keys.type("wsar", 0.0)
    np.testing.assert_array_equal(keys.wish((), 0.1).motion, [0, 1, 1, 0, 0, 0])


def test_keys_that_mean_nothing_do_nothing() -> None:
    keys = Keys()
    assert keys.type("xyz\x1b[A\x1b[15~\x1bOd", 0.0) == ()
    assert not keys.wish((), 0.0).held


def test_no_key_has_two_meanings() -> None:
    assert not MOTIONS.keys() & PRESSES.keys()
    assert {dimension for dimension, _ in MOTIONS.values()} == set(range(6))
    assert set(PRESSES.values()) == set(Button)


def test_a_good_set_lacks_nothing() -> None:
    assert lacking([demonstration(seed) for seed in range(ENOUGH)]) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"idle": 8}, "number 3 begins with 1.6 s without motion"),
        ({"grips": False}, "in number 3 the gripper neither opens nor closes"),
        ({"seed": 0}, "number 3 repeats number 1"),
    ],
)
def test_what_is_wrong_with_a_demonstration_is_told_by_its_number(
    changes: dict[str, Any], words: str
) -> None:
    several = [demonstration(0), demonstration(1), demonstration(**{"seed": 2, **changes})]
    assert words in lacking(several)


def test_a_small_set_and_one_that_always_starts_at_the_same_place_are_told() -> None:
    same = [demonstration(seed) for seed in range(3)]
    for each in same:
        each.proprio[0, :3] = 0.3
    assert lacking(same) == [
        f"3 of {ENOUGH} demonstrations",
        "all of them start at the same place: move the arm before some of them",
    ]


def test_earlier_bags_of_the_task_belong_to_the_set(tmp_path: Path) -> None:
    for name, end in (("a", 2), ("b", FAILURE)):
        script = Script()
        script.episode(1_000_000_000, 4, name=name, end=end)
        write(tmp_path / name, script)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("nonsense")
    found = recorded(tmp_path, "put red in bowl")
    assert [each.actions.shape for each in found] == [(4, 7)]
    assert found[0].proprio.shape == (4, 7)
    assert recorded(tmp_path, "another task") == []
    assert recorded(tmp_path / "nowhere", "put red in bowl") == []
