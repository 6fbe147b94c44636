"""`ptr console`: see, judge and move the arm on a web page, beside a running graph.

ptr console --task "put the yellow cube on the white plate"
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from widowx_bringup.graph.arguments import CAMERA, ROBOT_NAME
from widowx_bringup.teleop.joining import join
from widowx_bringup.teleop.main import value_of

if TYPE_CHECKING:
    from .node import ConsoleNode

DESCRIPTION = """\
Serve a page beside a running graph (`ptr up record teleop:=none`, `ptr up eval`, or their
launch files): live images, the state of arm and policy, and the buttons of `ptr teleop`.
A browser that drives moves the arm while a key or a pad is held, if nothing else commands it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptr console",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--task", default="", help="task of the episodes (default: typed on the page)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve on; 0.0.0.0 opens the page to the network, to whoever has the "
        "token that is printed (default: %(default)s, this computer alone)",
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="TCP port (default: %(default)s)"
    )
    parser.add_argument(
        "--session",
        default="",
        metavar="FOLDER",
        help="show how far this `ptr session` is; reads its journal only (default: none)",
    )
    parser.add_argument(
        "--camera",
        type=partial(value_of, CAMERA),
        default=CAMERA.default,
        help="camera whose images the commands answer (default: %(default)s)",
    )
    parser.add_argument(
        "--robot-name",
        type=partial(value_of, ROBOT_NAME),
        default=ROBOT_NAME.default,
        help="namespace of the graph (default: %(default)s)",
    )
    parser.add_argument(
        "--simulated",
        action="store_true",
        help="hear the nodes of this computer only, so that no real arm on the network is "
        "reached (default: all nodes; a simulated graph is recognised either way)",
    )
    return parser


def main(argv: list[str]) -> int:
    """See, judge and move the arm on a web page.

    Args:
        argv: Command line behind `ptr console`.

    Returns:
        Exit status.
    """
    options = _parser().parse_args(argv)
    from .access import Access

    access = Access(options.host)  # the page keeps its token if the node is made anew

    def make_node() -> ConsoleNode:
        """Return the node of the page."""
        from rclpy.parameter import Parameter

        from .node import ConsoleNode

        parameters = []
        for name in ("task", "camera", "host", "port", "session"):
            parameters.append(Parameter(name, value=getattr(options, name)))
        return ConsoleNode(
            access, namespace=options.robot_name, parameter_overrides=parameters
        )

    return join(make_node, simulated=options.simulated)
