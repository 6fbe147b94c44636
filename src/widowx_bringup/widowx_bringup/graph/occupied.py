"""Whether a graph runs already where another one is about to start.

Two arms, policies or recorders of one namespace would work against each other. The look at
the ROS graph is a process of its own, with the environment of the nodes to be started.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence

from ptr_common.errors import PtrError
from ptr_common.topics import TOPIC_DIAGNOSTICS

from .spec import NodeSpec

DISCOVERY = 2.0
"""Time in which the nodes of this machine and its network become known [s].

On a busy machine they miss each other's first announcement; with our profile they repeat it
every second.
"""

SIGN_OF_LIFE = 2.5
"""A node known by name is alive if it publishes diagnostics within this time [s].

They come once a second; the name of a node that was killed stays known for 20 s.
"""

ANSWER_LIMIT = 60.0
"""Longest wait for the look [s]."""

ALONE = ("arm_node", "simulation", "policy_node", "recorder_node")
"""Nodes of which a namespace holds one, whichever graph it belongs to."""


def check_free(specs: Sequence[NodeSpec], environment: Mapping[str, str]) -> None:
    """Check that no other graph runs in the namespace of some nodes.

    Args:
        specs: Nodes to be started.
        environment: All variables of their processes.

    Raises:
        PtrError: If nodes of these names are alive; the message has them.
    """
    command = [sys.executable, "-m", __name__, *sorted(names_of(specs))]
    result = subprocess.run(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ANSWER_LIMIT,
        check=False,
    )
    if result.returncode != 0:
        raise PtrError(f"the ROS graph cannot be looked at:\n{result.stderr.strip()}")
    if alive := result.stdout.split():
        raise PtrError(
            f"a graph runs here already: {', '.join(alive)}; end it, or choose another "
            "namespace:= or another ROS_DOMAIN_ID for this one"
        )


def names_of(specs: Sequence[NodeSpec]) -> set[str]:
    """Return the full names of the nodes that must not run already."""
    names = set()
    for spec in specs:
        namespace = f"/{spec.namespace.strip('/')}"
        names.add(f"{namespace.rstrip('/')}/{spec.name or spec.executable}")
        if spec.executable in ALONE:
            names.update(f"{namespace.rstrip('/')}/{name}" for name in ALONE)
    return names


def alive_nodes(names: Collection[str]) -> list[str]:
    """Return which of some nodes are alive, by their full names."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray

    from ptr_common import qos
    from ptr_common.node import subscribe

    rclpy.init(args=[])
    node = rclpy.create_node("graph_check")
    heard: set[str] = set()

    def on_diagnostics(message: DiagnosticArray) -> None:
        heard.update(status.name.partition(":")[0] for status in message.status)

    subscribe(node, DiagnosticArray, TOPIC_DIAGNOSTICS, on_diagnostics, qos.STATE)

    def look(seconds: float) -> set[str]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not heard.intersection(names):
            rclpy.spin_once(node, timeout_sec=0.1)
        known = node.get_node_names_and_namespaces()
        return {f"{space.rstrip('/')}/{name}" for name, space in known}.intersection(names)

    if look(DISCOVERY):
        look(SIGN_OF_LIFE)
    node.destroy_node()
    rclpy.shutdown()
    return sorted(heard.intersection(names))


if __name__ == "__main__":
    print("\n".join(alive_nodes(sys.argv[1:])))
