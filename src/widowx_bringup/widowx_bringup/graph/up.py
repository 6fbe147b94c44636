"""`ptr up`: start a graph of nodes where `ros2 launch` is not installed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .graphs import GRAPHS, environment, find_graph
from .processes import Processes, describe_status
from .spec import Argument
from .values import parse_values


def main(argv: list[str]) -> int:
    """Start the nodes of a graph: ptr up eval|record|replay [name:=value …]."""
    parser = argparse.ArgumentParser(
        prog="ptr up",
        description="Start the nodes of a graph, as `ros2 launch` would; Ctrl-C ends them all.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("graph", choices=sorted(GRAPHS))
    parser.add_argument("values", nargs="*", metavar="name:=value")
    parser.add_argument(
        "--log", type=Path, help="folder for the nodes' logs (default: runs/log/<time>)"
    )
    arguments = parser.parse_args(argv)
    graph = find_graph(arguments.graph)
    values = graph.resolve(parse_values(arguments.values))
    log = arguments.log or Path("runs", "log", time.strftime("%Y%m%d-%H%M%S"))
    with Processes(graph.nodes(values), log, environment(values), print) as processes:
        try:
            name, status = processes.wait()
        except KeyboardInterrupt:
            return 130
        print(
            f"{name} ended ({describe_status(status)}), so the others are ended too; logs: {log}",
            file=sys.stderr,
        )
        return status if status >= 0 else 128 - status


def _overview() -> str:
    lines = []
    for graph in GRAPHS.values():
        lines += [f"{graph.name}: {graph.description}", *map(_line, graph.arguments), ""]
    return "\n".join(lines)


def _line(argument: Argument) -> str:
    default = "required" if argument.default is None else f"default {argument.default!r}"
    choices = f"; {' or '.join(argument.choices)}" if argument.choices else ""
    return f"  {argument.name:<18} {argument.description} ({default}{choices})"
