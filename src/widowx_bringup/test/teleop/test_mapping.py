"""From keys and deflections to steps of the end effector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.teleop.mapping import (
    BUTTON_KEYS,
    MOTION_KEYS,
    Button,
    Keys,
    TeleopInput,
    TeleopMapper,
)

NOTHING = TeleopInput()


@given(arrays.arrays(float, 6, elements=st.floats()), st.booleans(), st.floats(-10, 10))
def test_every_input_gives_a_finite_action_within_its_limits(
    motion: np.ndarray, held: bool, speed: float
) -> None:
    action = TeleopMapper(speed).action(TeleopInput(motion, held))
    assert np.isfinite(action).all()
    assert (action >= ACTION_LOW).all()
    assert (action <= ACTION_HIGH).all()


@given(arrays.arrays(float, 6, elements=st.floats(-1, 1)))
def test_nothing_moves_unless_the_dead_man_switch_is_held(motion: np.ndarray) -> None:
    assert not TeleopMapper().action(TeleopInput(motion, held=False))[:6].any()


def test_buttons_change_gripper_and_speed() -> None:
    mapper = TeleopMapper(0.4)
    mapper.press(Button.GRIPPER)
    assert mapper.action(NOTHING)[6] == 0.0
    mapper.press(Button.GRIPPER)
    assert mapper.action(NOTHING)[6] == 1.0
    mapper.press(Button.FASTER)
    assert mapper.speed == pytest.approx(0.5)
    for _ in range(20):
        mapper.press(Button.FASTER)
    assert mapper.action(TeleopInput(np.ones(6), True))[0] == pytest.approx(0.05)


def test_a_tap_moves_for_one_step_and_a_held_key_until_it_is_released() -> None:
    keys = Keys()
    keys.type("w", 0.0)
    assert keys.input((), 0.1).motion[0] == 1.0
    assert not keys.input((), 0.21).held
    for now in np.arange(0.5, 2.0, 0.033):  # a terminal repeats it
        keys.type("w", float(now))
    assert keys.input((), 2.1).held
    assert not keys.input((), 2.2).held


def test_opposite_keys_cancel_and_others_add_up() -> None:
    keys = Keys()
    keys.type("wsar", 0.0)
    np.testing.assert_array_equal(keys.input((), 0.1).motion, [0, 1, 1, 0, 0, 0])


def test_keys_that_mean_nothing_do_nothing() -> None:
    keys = Keys()
    assert keys.type("xyz\x1b[A\x1b[15~\x1bOd", 0.0) == ()
    assert not keys.input((), 0.0).held


def test_no_key_has_two_meanings() -> None:
    assert not MOTION_KEYS.keys() & BUTTON_KEYS.keys()
    assert {dimension for dimension, _ in MOTION_KEYS.values()} == set(range(6))
    assert set(BUTTON_KEYS.values()) == set(Button)
