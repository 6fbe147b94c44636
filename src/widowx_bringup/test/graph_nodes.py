"""Nodes of the graphs for tests, with the arguments that each graph needs."""

from __future__ import annotations

from widowx_bringup.graph.graphs import find_graph
from widowx_bringup.graph.spec import NodeSpec

GIVEN = {
    "eval": {"policy": "bundle", "urdf": "false"},
    "record": {"urdf": "false"},
    "replay": {"policy": "bundle", "bag": "bag"},
}
"""Required arguments; no URDF, which only some machines have (test_urdf.py)."""


def nodes_of(name: str, **given: str) -> list[NodeSpec]:
    """Return the nodes of a graph for some arguments."""
    graph = find_graph(name)
    return graph.nodes(graph.resolve({**GIVEN[name], **given}))
