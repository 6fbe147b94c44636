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

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


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
    return start.named["function"]({**context, **given}, *start.named["args"])


@pytest.mark.parametrize("graph_name", FILES)
def test_a_launch_file_declares_every_argument_of_its_graph(graph_name: str) -> None:
    *declared, _ = description_of(graph_name)
    arguments = find_graph(graph_name).arguments
    assert [action.positional[0] for action in declared] == [
        argument.name for argument in arguments
    ]
    for action, argument in zip(declared, arguments, strict=True):
        assert action.named["default_value"] == argument.default
        assert action.named["description"] == argument.description


@pytest.mark.parametrize(
    ("graph_name", "given"),
    [
        ("eval", {"policy": "bundle", "urdf": "false", "other_cameras": "wrist"}),
        ("record", {"use_sim": "false", "camera_driver": "realsense"}),
        ("replay", {"policy": "bundle", "bag": "bag"}),
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
        assert node["on_exit"].kind == "Shutdown"
        files = [Path(name) for name in node["parameters"][:-1]]
        assert files == ([config_folder() / spec.config] if spec.config else [])


def test_every_launch_file_has_a_graph() -> None:
    files = (config_folder().parent / "launch").glob("*.launch.py")
    assert {file.name for file in files} == set(FILES.values())
    assert importlib.import_module("widowx_bringup.graph.ros_launch")
