"""Launch files start the nodes of the graphs; `launch` and `launch_ros` are stand-ins."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from graph_nodes import BUNDLE

from ptr_common.errors import PtrError
from widowx_bringup.graph.environment import config_folder, environment
from widowx_bringup.graph.graphs import find_graph

FILES = {
    "eval": "ptr_eval.launch.py",
    "record": "teleop_record.launch.py",
    "replay": "replay.launch.py",
}


@dataclass
class Action:
    """What a launch action was made of."""

    kind: str
    positional: tuple[Any, ...]
    named: dict[str, Any] = field(default_factory=dict)


@dataclass
class Configuration:
    """The value of an argument, once the context is there."""

    name: str

    def perform(self, context: Context) -> str:
        return context.values[self.name]


@dataclass
class Context:
    """What `launch` knows: values, words of the command line, the present launch file."""

    values: dict[str, str]
    argv: list[str] = field(default_factory=list)
    file: str = "/somewhere/ptr_eval.launch.py"
    is_shutdown: bool = False

    def get_locals_as_dict(self) -> dict[str, str]:
        return {"current_launch_file_path": self.file}


def maker(kind: str) -> Callable[..., Action]:
    return lambda *positional, **named: Action(kind, positional, named)


@pytest.fixture(autouse=True)
def launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put stand-ins in place of the two packages, which are not among the wheels."""
    names = {
        "launch": ("LaunchContext", "LaunchDescription"),
        "launch.actions": (
            "DeclareLaunchArgument",
            "OpaqueFunction",
            "SetEnvironmentVariable",
            "Shutdown",
        ),
        "launch.substitutions": (),
        "launch_ros": (),
        "launch_ros.actions": ("Node",),
    }
    for module_name, kinds in names.items():
        module = ModuleType(module_name)
        for kind in kinds:
            setattr(module, kind, maker(kind))
        monkeypatch.setitem(sys.modules, module_name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = Configuration  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "widowx_bringup.graph.ros_launch", raising=False)


def description_of(graph_name: str) -> list[Action]:
    """Return the actions of the launch description that a graph's launch file makes."""
    file = config_folder().parent / "launch" / FILES[graph_name]
    module = runpy.run_path(str(file))
    (actions,) = module["generate_launch_description"]().positional
    return actions


def started(graph_name: str, **given: str) -> list[Action]:
    """Return what a launch file starts for the values given."""
    *declared, start = description_of(graph_name)
    context = {action.positional[0]: action.named["default_value"] for action in declared}
    return start.named["function"](Context({**context, **given}), *start.named["args"])


@pytest.mark.parametrize("graph_name", FILES)
def test_a_launch_file_declares_every_argument_of_its_graph(graph_name: str) -> None:
    *declared, _ = description_of(graph_name)
    arguments = find_graph(graph_name).arguments
    assert [action.positional[0] for action in declared] == [
        argument.name for argument in arguments
    ]
    for action, argument in zip(declared, arguments, strict=True):
        assert action.named["default_value"] == (argument.default or "")
        assert action.named["description"].startswith(argument.description)
        required = action.named["description"].endswith("(required)")
        assert required == (argument.default is None)


@pytest.mark.parametrize(
    ("graph_name", "given"),
    [
        ("eval", {"policy": str(BUNDLE), "urdf": "false", "other_cameras": "wrist"}),
        ("record", {"use_sim": "false", "camera_driver": "realsense"}),
        ("replay", {"policy": str(BUNDLE), "bag": "bag"}),
    ],
)
def test_a_launch_file_starts_the_nodes_of_its_graph(
    graph_name: str, given: dict[str, str]
) -> None:
    graph = find_graph(graph_name)
    values = graph.resolve(given)
    actions = started(graph_name, **given)
    variables = [action for action in actions if action.kind == "SetEnvironmentVariable"]
    assert dict(action.positional for action in variables) == environment(values)
    nodes = [action.named for action in actions if action.kind == "Node"]
    specs = graph.nodes(values)
    assert len(nodes) == len(specs)
    for node, spec in zip(nodes, specs, strict=True):
        assert (node["package"], node["executable"]) == (spec.package, spec.executable)
        assert (node["name"], node["namespace"]) == (spec.name or None, spec.namespace)
        assert node["parameters"][-1] == dict(spec.parameters)
        assert node["remappings"] == list(spec.remappings)
        assert node["sigterm_timeout"] == str(spec.grace)
        assert callable(node["on_exit"])
        files = [Path(name) for name in node["parameters"][:-1]]
        assert files == ([config_folder() / spec.config] if spec.config else [])


def refused(
    monkeypatch: pytest.MonkeyPatch, words: list[str], file: str = "ptr_eval.launch.py"
) -> str:
    """Return why words on the command line of `file` are refused; the graph is `eval`."""
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "widowx_bringup", file, *words])
    *declared, start = description_of("eval")
    values = {action.positional[0]: action.named["default_value"] for action in declared}
    values |= dict(word.split(":=") for word in words)
    with pytest.raises(PtrError) as error:
        start.named["function"](Context(values, words), *start.named["args"])
    return str(error.value)


def test_a_misspelt_argument_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for word, name in (("polcy:=x", "policy"), ("use_simm:=true", "use_sim")):
        assert f"did you mean {name}?" in refused(monkeypatch, [word])


def test_arguments_that_launch_adds_and_those_of_an_including_file_are_not_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for words, file in (
        (["launch-prefix:=gdb"], "ptr_eval.launch.py"),
        (["polcy:=x"], "my_robot.launch.py"),
    ):
        assert refused(monkeypatch, words, file).startswith("eval needs policy:=")


def test_a_bundle_that_is_missing_ends_the_launch_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "nowhere is not a bundle" in refused(monkeypatch, ["policy:=nowhere"])


def test_a_node_that_fails_ends_the_launch_with_an_error_and_no_other_does() -> None:
    (*_, node) = started("record", urdf="false", teleop="none")
    on_exit = node.named["on_exit"]
    failed = Action("ProcessExited", (), {})
    failed.process_name, failed.returncode = "policy_node-3", 2  # type: ignore[attr-defined]
    with pytest.raises(PtrError, match=r"policy_node-3 ended \(status 2\)"):
        on_exit(failed, Context({}))
    assert on_exit(failed, Context({}, is_shutdown=True)) is None
    failed.returncode = 0  # type: ignore[attr-defined]
    assert on_exit(failed, Context({})).kind == "Shutdown"


def test_every_launch_file_has_a_graph() -> None:
    files = (config_folder().parent / "launch").glob("*.launch.py")
    assert {file.name for file in files} == set(FILES.values())
    assert importlib.import_module("widowx_bringup.graph.ros_launch")
