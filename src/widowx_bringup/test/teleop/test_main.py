"""Options of `ptr teleop`, and what it says where ROS or a terminal is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from widowx_bringup.teleop import main as teleop
from widowx_bringup.teleop.mapping import FASTEST, SLOWEST


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --task"),
        (["--task", " "], "--task: it must not be empty"),
        (
            ["--task", "t", "--speed", "7"],
            "--speed: '7' is not possible; allowed are 0.1 to 1",
        ),
        (["--task", "t", "--speed", "nan"], "--speed: 'nan' is not possible"),
        (["--task", "t", "--speed", "fast"], "--speed: 'fast' is not possible"),
        (["--task", "t", "--camera", "a b"], "--camera: 'a b' is not possible: a name"),
        (["--task", "t", "--robot-name", "a-b"], "--robot-name: 'a-b' is not possible"),
    ],
)
def test_a_wrong_value_is_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        teleop.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("speed", [SLOWEST, FASTEST])
def test_the_limits_of_the_speed_are_possible(speed: float) -> None:
    assert (
        teleop._parser().parse_args(["--task", "t", "--speed", str(speed)]).speed == speed
    )


def test_every_option_has_a_help_text_and_its_default() -> None:
    for action in teleop._parser()._actions[1:]:
        assert action.help, action.option_strings
        assert "default:" in action.help or "required" in action.help, action.option_strings


def test_the_help_texts_of_the_keys_fit_a_terminal() -> None:
    for text in (teleop.HELP, teleop.WATCH_HELP):
        assert max(map(len, text.splitlines())) <= 100


def run_teleop(*lines: str) -> subprocess.CompletedProcess[str]:
    """Run a program that calls `ptr teleop` without a terminal."""
    end = ["from ptr_common.cli import main", "sys.exit(main())"]
    program = "\n".join(["import sys", *lines, *end])
    return subprocess.run(
        [sys.executable, "-c", program, "teleop", "--task", "stir"],
        env={**os.environ, "ROS_DOMAIN_ID": "99"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_ros_it_says_what_to_do() -> None:
    done = run_teleop("sys.modules['rclpy'] = None")
    assert done.returncode == 2
    assert "ptr teleop: this verb needs ROS 2 (rclpy): make setup, or source" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_terminal_it_says_what_to_do() -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    done = run_teleop()
    assert done.returncode == 2
    assert "no terminal to read keys from: run `ptr teleop` in one" in done.stderr
    assert "Traceback" not in done.stderr
