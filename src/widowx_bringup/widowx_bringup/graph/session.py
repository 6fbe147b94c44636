"""Starts a graph for episodes, or joins one: its nodes, a free ROS domain, an `EpisodeRunner`.

`ptr record`, `ptr evaluate` and `ptr session` use it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .connection import START_TIMEOUT, EpisodeError, GraphConnection
from .environment import environment
from .episode_runner import EpisodeRunner
from .graphs import find_graph
from .occupied import check_free
from .processes import Processes
from .spec import NodeSpec

LAST_DOMAIN = 100
"""Largest ROS_DOMAIN_ID that is tried."""

LOCK_PORT = 22100
"""TCP port that stands for domain 0; the port of a domain is taken while a graph uses it."""


@contextlib.contextmanager
def open_session(
    graph_name: str, given: Mapping[str, str], log_folder: Path
) -> Iterator[EpisodeRunner]:
    """Start a graph's nodes and yield a runner once all are ready; end them afterwards.

    Args:
        graph_name: "eval" or "record".
        given: Launch arguments, as for `ptr up`.
        log_folder: Receives the nodes' logs.

    Raises:
        PtrError: If an argument is wrong or a node does not start; the message has the
            node's last lines.
    """
    graph = find_graph(graph_name)
    values = graph.resolve(given)
    specs = graph.nodes(values)
    reporting_nodes = {spec.full_name for spec in specs if spec.reports}
    os.environ.update(environment(values))  # this process takes part in the graph as well
    with own_domain(specs), Processes(specs, log_folder, {}) as processes:
        connection = GraphConnection(processes, values, reporting_nodes)
        try:
            names = ", ".join(spec.executable for spec in specs)
            print(
                f"waiting for {names}: {START_TIMEOUT:g} s at most for each (logs: {log_folder})",
                flush=True,
            )
            connection.wait_ready()
            yield EpisodeRunner(connection)
        finally:
            connection.close()


class _OthersNodes:
    """Nodes that somebody else started; whether they live shows in their messages alone."""

    log_folder = Path("the output of the graph's nodes")

    def check(self) -> None:
        """Find nothing: their processes are not ours."""


@contextlib.contextmanager
def join_session(graph_name: str, given: Mapping[str, str]) -> Iterator[EpisodeRunner]:
    """Yield a runner on a graph that runs already, and leave the graph as it is afterwards.

    Args:
        graph_name: "eval" or "record".
        given: The arguments that the graph was started with.

    Raises:
        PtrError: If an argument is wrong, or no such graph is heard.
    """
    graph = find_graph(graph_name)
    values = graph.resolve(given)
    reporting_nodes = {spec.full_name for spec in graph.nodes(values) if spec.reports}
    os.environ.update(environment(values))
    connection = GraphConnection(_OthersNodes(), values, reporting_nodes)
    try:
        connection.wait_ready()
        if connection.records:
            values["bag_directory"] = str(connection.recorder_folder())
        yield EpisodeRunner(connection)
    finally:
        connection.close()


@contextlib.contextmanager
def simulated_graph(given: Mapping[str, str], folder: Path) -> Iterator[Processes]:
    """Yield the running processes of a simulated arm, its camera and a recorder, without sender.

    They are on a ROS domain of their own, of which this process is a part.

    Args:
        given: Arguments of the graph `record`.
        folder: Receives the nodes' logs, and bags where the arguments name no folder for them.
    """
    trial = {"teleop": "none", "bag_directory": str(folder / "bags"), **given}
    graph = find_graph("record")
    values = graph.resolve({**trial, "use_sim": "true"})
    specs = graph.nodes(values)
    os.environ.update(environment(values))
    with own_domain(specs), Processes(specs, folder / "log", {}) as processes:
        yield processes


@contextlib.contextmanager
def own_domain(specs: Sequence[NodeSpec]) -> Iterator[None]:
    """Set ROS_DOMAIN_ID to a free one; where it is set, see that no graph like ours is there.

    A simulation in the domain of a real robot on this computer would command its arm.

    Args:
        specs: Nodes to be started.

    Raises:
        PtrError: If all domains are in use, or nodes of these names are alive in the one set.
    """
    if "ROS_DOMAIN_ID" in os.environ:
        check_free(specs, os.environ)
    with free_domain():
        yield


@contextlib.contextmanager
def free_domain() -> Iterator[None]:
    """Set ROS_DOMAIN_ID to one that no other graph on this computer uses, unless it is set.

    Raises:
        EpisodeError: If all domains are in use.
    """
    if "ROS_DOMAIN_ID" in os.environ:
        yield
        return
    with contextlib.ExitStack() as stack:
        for domain in range(LAST_DOMAIN, 1, -1):
            lock = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                lock.bind(("127.0.0.1", LOCK_PORT + domain))  # until the graph has ended
                break
        else:
            raise EpisodeError(
                f"no free ROS_DOMAIN_ID in 2..{LAST_DOMAIN}; export one yourself"
            )
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        try:
            yield
        finally:
            del os.environ["ROS_DOMAIN_ID"]
