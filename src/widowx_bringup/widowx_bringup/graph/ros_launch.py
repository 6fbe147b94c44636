"""Turns a graph into `launch_ros` actions; each launch file calls `describe`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from .environment import config_folder, environment
from .graphs import find_graph
from .occupied import check_free
from .processes import NodeDiedError, describe_status
from .spec import Argument, Graph, NodeSpec
from .values import parse_values

__all__ = ["LaunchDescription", "describe"]

OF_LAUNCH = "launch-"
"""How the names of arguments begin that `ros2 launch` adds by itself (`--launch-prefix`)."""


def describe(graph_name: str) -> LaunchDescription:
    """Return a graph as a launch description: its arguments, its environment, its nodes."""
    graph = find_graph(graph_name)
    declarations = [_declaration(argument) for argument in graph.arguments]
    start = OpaqueFunction(function=_start, args=[graph])
    return LaunchDescription([*declarations, start])


def _declaration(argument: Argument) -> DeclareLaunchArgument:
    # Without a default, `launch` would refuse a misspelt name before `_start` names the right one.
    required = " (required)" if argument.default is None else ""
    return DeclareLaunchArgument(
        argument.name,
        default_value=argument.default or "",
        description=argument.description + required,
        choices=list(argument.choices) or None,
    )


def _start(context: LaunchContext, graph: Graph) -> list[SetEnvironmentVariable | Node]:
    """Return the actions for the given values; only graphs.py decides about nodes.

    Raises:
        PtrError: If a name or a value is refused; `ros2 launch` then ends with status 1.
    """
    graph.check_names(_typed(context))
    given = {}
    for argument in graph.arguments:
        given[argument.name] = LaunchConfiguration(argument.name).perform(context)
    values = graph.resolve(given)
    actions: list[SetEnvironmentVariable | Node] = []
    for name, value in environment(values).items():
        actions.append(SetEnvironmentVariable(name, value))
    specs = graph.nodes(values)
    check_free(specs, {**os.environ, **environment(values)})
    for spec in specs:
        actions.append(_node(spec))
    return actions


def _typed(context: LaunchContext) -> Mapping[str, str]:
    """Return the arguments of the command line, if it names our launch file.

    `launch` itself takes any name. Where another launch file includes ours, the command line
    holds the arguments of that one.
    """
    file = Path(context.get_locals_as_dict().get("current_launch_file_path", ""))
    if file.name not in {Path(word).name for word in sys.argv}:
        return {}
    typed = parse_values(context.argv)
    return {name: typed[name] for name in typed if not name.startswith(OF_LAUNCH)}


def _node(spec: NodeSpec) -> Node:
    parameters: list[object] = [dict(spec.parameters)]
    if spec.config:
        parameters.insert(0, str(config_folder() / spec.config))
    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name or None,
        namespace=spec.namespace,
        parameters=parameters,
        remappings=list(spec.remappings),
        sigterm_timeout=str(spec.grace),
        output="both",
        on_exit=_on_exit,
    )


def _on_exit(event: Any, context: LaunchContext) -> Shutdown | None:
    """End all nodes with one of them: a robot must not run without one of its parts.

    Args:
        event: A `launch.events.process.ProcessExited`.
        context: Says whether the nodes are being ended already.

    Raises:
        NodeDiedError: If the node failed by itself; only an error gives `ros2 launch` a status
            that is not 0.
    """
    if context.is_shutdown:
        return None
    ended = f"{event.process_name} ended ({describe_status(event.returncode)})"
    if event.returncode:
        raise NodeDiedError(f"{ended}, so the other nodes are ended too")
    return Shutdown(reason=ended)
