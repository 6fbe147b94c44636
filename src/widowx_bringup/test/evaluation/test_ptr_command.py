"""Command lines of verbs from Python arguments."""

from __future__ import annotations

from pathlib import Path

from widowx_bringup.evaluation.ptr_command import ptr_command


def test_options_follow_the_positional_arguments_in_their_order() -> None:
    command = ptr_command("export", Path("bags"), max_steps=3, from_="run")
    assert command == ["export", "bags", "--max-steps", "3", "--from", "run"]


def test_lists_repeat_an_option_and_absent_ones_are_left_out() -> None:
    command = ptr_command("train", set=["a=1", "b=2"], resume=True, prior=None, base=[])
    assert command == ["train", "--set", "a=1", "--set", "b=2", "--resume"]


def test_zero_is_a_value() -> None:
    assert ptr_command("collect", seed=0) == ["collect", "--seed", "0"]


def test_a_false_option_is_switched_off() -> None:
    assert ptr_command("bundle", draw_gripper=False) == ["bundle", "--no-draw-gripper"]
