"""`ptr up`: start a graph of nodes where `ros2 launch` is not installed."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from pathlib import Path

from .environment import environment
from .graphs import GRAPHS, find_graph
from .occupied import check_free
from .processes import Processes, describe_status
from .spec import Argument, Graph
from .values import parse_values

HELP_WIDTH = 98
"""Columns of the list of arguments in the help text."""

HELP_INDENT = " " * 20
"""Indent of the descriptions in that list."""


def main(argv: list[str]) -> int:
    """Start the nodes of a graph: ptr up eval|record|replay [name:=value …]."""
    options = _parser().parse_args(argv)
    graph = find_graph(options.graph)
    values = graph.resolve(parse_values(options.values))
    log = options.log or Path("runs", "log", time.strftime("%Y%m%d-%H%M%S"))
    specs = graph.nodes(values)
    processes = Processes(specs, log, environment(values), print)
    check_free(specs, processes.environment)
    with processes:
        try:
            name, status = processes.wait()
        except KeyboardInterrupt:
            return 130
        print(
            f"{name} ended ({describe_status(status)}), "
            f"so the other nodes are ended too; logs: {log}",
            file=sys.stderr,
        )
        return status if status >= 0 else 128 - status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptr up",
        description="Start the nodes of a graph, as `ros2 launch` would; Ctrl-C ends them all.",
        epilog="\n".join(_describe_graph(graph) for graph in GRAPHS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("graph", help=f"one of: {', '.join(GRAPHS)}")
    parser.add_argument(
        "values",
        nargs="*",
        default=[],
        metavar="name:=value",
        help="arguments of the graph, listed below (default: those listed)",
    )
    parser.add_argument(
        "--log", type=Path, help="folder for the nodes' logs (default: runs/log/<time>)"
    )
    return parser


def _describe_graph(graph: Graph) -> str:
    lines = [f"{graph.name}: {graph.description}"]
    for argument in graph.arguments:
        lines += _describe_argument(argument)
    return "\n".join([*lines, ""])


def _describe_argument(argument: Argument) -> list[str]:
    """Return name, description, default and choices of an argument, wrapped in two columns."""
    default = f"default {argument.default!r}"
    if argument.default is None:
        default = "required"
    choices = ""
    if len(argument.choices) > 1:
        choices = f"; one of: {', '.join(argument.choices)}"
    first_indent = f"  {argument.name}".ljust(len(HELP_INDENT))
    return textwrap.wrap(
        f"{argument.description} ({default}{choices})",
        width=HELP_WIDTH,
        initial_indent=first_indent,
        subsequent_indent=HELP_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
