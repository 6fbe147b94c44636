"""A person's node beside a running graph, whether that is simulated here or a robot's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from widowx_bringup.graph.environment import environment

if TYPE_CHECKING:
    from .local_simulation import LocalSimulation
    from .node import TeleopNode


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
