"""Options of `ptr console`, and what it says where something is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from widowx_bringup.console import main as console


def test_every_option_has_a_help_text_and_its_default() -> None:
    for action in console._parser()._actions[1:]:
        assert action.help, action.option_strings
        assert "default:" in action.help, action.option_strings


def test_it_listens_on_this_computer_alone_unless_told_otherwise() -> None:
    assert console._parser().parse_args([]).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "many"], "argument --port: 'many' is not a TCP port from 0 to 65535"),
        (["--camera", "a b"], "--camera: 'a b' is not possible: a name"),
        (["--robot-name", "a-b"], "--robot-name: 'a-b' is not possible"),
    ],
)
def test_a_wrong_value_is_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        console.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_websockets_it_says_how_to_get_it() -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    program = (
        "import sys; sys.modules['websockets'] = None\n"
        "from ptr_common.cli import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "console", "--simulated", "--port", "0"],
        env={**os.environ, "ROS_DOMAIN_ID": "99"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "this verb needs the Python package websockets" in done.stderr
    assert "Traceback" not in done.stderr
