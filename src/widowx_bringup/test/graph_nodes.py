"""Nodes of the graphs for tests, with the arguments that each graph needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from widowx_bringup.graph.graphs import find_graph
from widowx_bringup.graph.spec import NodeSpec

BUNDLE = Path(__file__).parents[3] / "test/files_of_0.1.0/bundle"
"""A bundle of camera over_shoulder, 48 x 32 pixels, for the simulation's target task."""

GIVEN = {
    "eval": {"policy": str(BUNDLE), "urdf": "false"},
    "record": {"urdf": "false"},
    "replay": {"policy": str(BUNDLE), "bag": "bag"},
}
"""Required arguments; no URDF, which only some machines have (test_urdf.py)."""


def nodes_of(name: str, **given: str) -> list[NodeSpec]:
    """Return the nodes of a graph for some arguments."""
    graph = find_graph(name)
    return graph.nodes(graph.resolve({**GIVEN[name], **given}))


def write_description(folder: Path, **changes: Any) -> Path:
    """Write a bundle whose description differs from `BUNDLE`'s, and whose programs are empty."""
    description = json.loads((BUNDLE / "bundle.json").read_text())
    for name in description["sha256"]:
        (folder / name).touch()
    (folder / "bundle.json").write_text(json.dumps({**description, **changes}))
    return folder
