"""`ptr console`: see, judge and move the arm on a web page, beside a running graph.

ptr console --task "put the yellow cube on the white plate"
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ptr_common.arguments import tcp_port
from widowx_bringup.teleop.joining import add_graph_options, join

from .access import HOST, PORT, Access

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
        default=HOST,
        help="address to serve on; 0.0.0.0 opens the page to the network, to whoever has the "
        "token that is printed (default: %(default)s, this computer alone)",
    )
    parser.add_argument(
        "--port", type=tcp_port, default=PORT, help="TCP port (default: %(default)s)"
    )
    parser.add_argument(
        "--session",
        default="",
        metavar="FOLDER",
        help="show how far this `ptr session` is; reads its journal only (default: none)",
    )
    add_graph_options(parser)
    return parser


def main(argv: list[str]) -> int:
    """See, judge and move the arm on a web page.

    Args:
        argv: Command line behind `ptr console`.

    Returns:
        Exit status.
    """
    options = _parser().parse_args(argv)
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
