"""A person's node beside a running graph, whether that is simulated here or a robot's."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from widowx_bringup.graph.arguments import CAMERA, ROBOT_NAME
from widowx_bringup.graph.environment import environment
from widowx_bringup.graph.spec import Argument

if TYPE_CHECKING:
    from .local_simulation import LocalSimulation
    from .node import TeleopNode


def add_graph_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which graph a person joins, and which of its cameras."""
    parser.add_argument(
        "--camera",
        type=partial(_value_of, CAMERA),
        default=CAMERA.default,
        help="camera whose images the commands answer (default: %(default)s)",
    )
    parser.add_argument(
        "--robot-name",
        type=partial(_value_of, ROBOT_NAME),
        default=ROBOT_NAME.default,
        help="namespace of the graph (default: %(default)s)",
    )
    parser.add_argument(
        "--simulated",
        action="store_true",
        help="hear the nodes of this computer only, so that no real arm on the network is "
        "reached (default: all nodes; a simulated graph is recognised either way)",
    )


def _value_of(argument: Argument, text: str) -> str:
    """Return the text if it is a possible value of the graph's argument."""
    try:
        argument.kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not possible: {error}") from error
    return text


def join(make_node: Callable[[], TeleopNode], *, simulated: bool) -> int:
    """Run the node of a person until it ends, and return the exit status.

    A simulated graph hides from other computers, so a node that hears them may not hear it: a
    second look finds it, and the node is made anew, to hear this computer only.

    Args:
        make_node: Makes the node.
        simulated: Hear the nodes of this computer only, from the beginning.
    """
    if simulated or _hears_this_computer_only():
        return _run(make_node, local=True)[0]
    status, found = _run(make_node, local=False)
    return _run(make_node, local=True)[0] if found else status


def _hears_this_computer_only() -> bool:
    """Return whether the shell keeps every node to this computer already."""
    variables = environment({"use_sim": "true"}).items()
    return all(os.environ.get(name) == value for name, value in variables if "ROS_" in name)


def _run(make_node: Callable[[], TeleopNode], *, local: bool) -> tuple[int, bool]:
    """Run the node of a person.

    Args:
        make_node: Makes the node.
        local: Hear the nodes of this computer only.

    Returns:
        Exit status, and whether it ended because a simulated graph runs on this computer,
        which only a node that hears this computer alone is sure to see.
    """
    os.environ.update(environment({"use_sim": str(local).lower()}))
    from ptr_common.managed_node import run

    from .local_simulation import LocalSimulation

    found = False
    search: LocalSimulation | None = None

    def make_searching_node() -> TeleopNode:
        nonlocal search
        node = make_node()
        if not local:
            search = LocalSimulation(node, note_found)
        return node

    def note_found() -> None:
        nonlocal found
        found = True
        signal.raise_signal(signal.SIGINT)

    status = run(make_searching_node, arguments=[])
    if search is not None:
        search.close()
    return status, found
