"""Turns a graph into `launch_ros` actions; each launch file calls `describe`."""

from __future__ import annotations

import os

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
from .spec import Argument, Graph, NodeSpec

__all__ = ["LaunchDescription", "describe"]


def describe(graph_name: str) -> LaunchDescription:
    """Return a graph as a launch description: its arguments, its environment, its nodes."""
    graph = find_graph(graph_name)
    declarations = [_declaration(argument) for argument in graph.arguments]
    start = OpaqueFunction(function=_start, args=[graph])
    return LaunchDescription([*declarations, start])


def _declaration(argument: Argument) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        argument.name,
        default_value=argument.default,
        description=argument.description,
        choices=list(argument.choices) or None,
    )


def _start(context: LaunchContext, graph: Graph) -> list[SetEnvironmentVariable | Node]:
    """Return the actions for the given values; only graphs.py decides about nodes."""
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
        # A robot must not run without one of its parts.
        on_exit=Shutdown(reason=f"{spec.executable} ended"),
    )
