"""Turns a graph into `launch_ros` actions; the launch files are one call of `describe` each."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from .graphs import config_folder, environment, find_graph
from .spec import Graph, NodeSpec

__all__ = ["LaunchDescription", "describe"]


def describe(graph_name: str) -> LaunchDescription:
    """Return a graph as a launch description: its arguments, its environment, its nodes."""
    graph = find_graph(graph_name)
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for argument in graph.arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[graph])])


def _start(context: LaunchContext, graph: Graph) -> list[SetEnvironmentVariable | Node]:
    """Return the actions for the values given; nodes and conditions depend on them in graph.py alone."""
    given = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in graph.arguments
    }
    values = graph.resolve(given)
    variables = [
        SetEnvironmentVariable(name, value) for name, value in environment(values).items()
    ]
    return [*variables, *map(_node, graph.nodes(values))]


def _node(spec: NodeSpec) -> Node:
    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name or None,
        namespace=spec.namespace,
        parameters=[
            *([str(config_folder() / spec.config)] if spec.config else []),
            dict(spec.parameters),
        ],
        remappings=list(spec.remappings),
        sigterm_timeout=str(spec.grace),
        output="both",
        on_exit=Shutdown(
            reason=f"{spec.executable} ended"
        ),  # no part of a robot goes on without the others
    )
