"""`ptr up`: help text, arguments, and what is missing; no node is started here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ptr_common.errors import PtrError
from widowx_bringup.graph import up
from widowx_bringup.graph.graphs import GRAPHS


def test_values_are_read_by_name() -> None:
    assert up.parse_values(["a:=1", "b:=x:=y", "c:="]) == {"a": "1", "b": "x:=y", "c": ""}


def test_a_word_without_value_is_refused() -> None:
    with pytest.raises(PtrError, match="'a=1' is no argument; write name:=value"):
        up.parse_values(["a=1"])


def test_every_argument_stands_in_the_help_text_with_its_default() -> None:
    text = " ".join(up._parser().format_help().split())
    for graph in GRAPHS.values():
        assert f"{graph.name}: {graph.description}" in text
        for argument in graph.arguments:
            default = "required"
            if argument.default is not None:
                default = f"default {argument.default!r}"
            description = " ".join(argument.description.split())
            assert f"{argument.name} {description} ({default}" in text


def test_every_option_has_a_help_text() -> None:
    assert all(action.help for action in up._parser()._actions)


def test_without_a_graph_only_the_graph_is_demanded(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        up.main([])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("arguments are required: graph\n")


def test_lines_of_the_help_text_fit_a_terminal() -> None:
    assert max(map(len, up._parser().format_help().splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recrod"], r"no graph 'recrod'; did you mean record\?"),
        (["record", "camra:=front"], r"no argument 'camra'; did you mean camera\?"),
        (["record", "width:=0"], "width:=0 is not possible"),
    ],
)
def test_a_typing_error_is_found_before_anything_starts(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PtrError, match=message):
        up.main([*arguments, "--log", str(tmp_path / "log")])
    assert not (tmp_path / "log").exists()


def test_without_ros_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_spec = importlib.util.find_spec

    def find_no_ros(name: str, *rest: Any) -> Any:
        return None if name == "rclpy" else find_spec(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_no_ros)
    with pytest.raises(PtrError, match="run `make setup` or source ROS 2"):
        up.main(["record", "urdf:=false", "--log", str(tmp_path / "log")])
    assert not (tmp_path / "log").exists()
