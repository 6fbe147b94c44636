"""`ptr teleop`: move the arm with the keyboard, or judge the rollouts of a policy.

ptr teleop --task "put the yellow cube on the white plate"
ptr teleop --watch --task "put the yellow cube on the white plate"
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from widowx_bringup.graph.arguments import CAMERA, ROBOT_NAME
from widowx_bringup.graph.spec import Argument

from .joining import join
from .mapping import FASTEST, SLOWEST, SPEED

if TYPE_CHECKING:
    from .node import TeleopNode

DESCRIPTION = """\
Move the arm with the keyboard of this terminal, beside a running graph
(`ptr up record teleop:=none`, or teleop_record.launch.py);
or watch a policy move it (`ptr up eval`, or ptr_eval.launch.py).
A simulated graph is recognised by itself: each recording then begins with a fresh scene of
the task, and 2 saves it only if the simulation finds the task solved."""

WATCH_HELP = """\
  SPACE  STOP the arm (e: go on)     h  start pose     1  begin a rollout
  2  it succeeded     3  it failed     4  discard it     q  quit (discards)
  n  new scene (simulation)
"""

HELP = """\
  w s  forward, back    r f  up, down      o u  roll    1  record    4  discard
  a d  left, right      g    gripper       i k  pitch   2  save      5  discard and start again
  + -  faster, slower   h    start pose    j l  yaw     3  save as a failure
  SPACE  STOP the arm (e: go on)        n     new scene (simulation)    q  quit (discards)
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptr teleop",
        description=DESCRIPTION,
        epilog=f"{HELP}\nwith --watch:\n{WATCH_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--task", required=True, type=_task, help="task of the episodes (required)"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="begin, judge and stop the rollouts of a policy (default: the keys move the arm)",
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=SPEED,
        help=f"speed at the start, as a fraction of the longest step, {SLOWEST:g} to "
        f"{FASTEST:g} (default: %(default)s)",
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


def _task(text: str) -> str:
    """Return the name of a task unless it is empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "it must not be empty; name the task of the episodes"
        )
    return text


def _speed(text: str) -> float:
    """Return a speed within its limits, as a fraction of the longest step."""
    message = f"{text!r} is not possible; allowed are {SLOWEST:g} to {FASTEST:g}"
    try:
        speed = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(message) from error
    if not SLOWEST <= speed <= FASTEST:
        raise argparse.ArgumentTypeError(message)
    return speed


def value_of(argument: Argument, text: str) -> str:
    """Return the text if it is a possible value of the graph's argument."""
    try:
        argument.kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not possible: {error}") from error
    return text


def main(argv: list[str]) -> int:
    """Move the arm with the keyboard, and record demonstrations with single keys.

    Args:
        argv: Command line behind `ptr teleop`.

    Returns:
        Exit status.
    """
    options = _parser().parse_args(argv)
    print(f"{WATCH_HELP if options.watch else HELP}\ntask: {options.task}", flush=True)

    def make_node() -> TeleopNode:
        """Return the node of the person at this terminal."""
        from rclpy.parameter import Parameter

        from .devices import Keyboard
        from .node import TeleopNode

        parameters = []
        for name in ("task", "speed", "camera", "watch"):
            parameters.append(Parameter(name, value=getattr(options, name)))
        return TeleopNode(
            Keyboard, print, namespace=options.robot_name, parameter_overrides=parameters
        )

    return join(make_node, simulated=options.simulated)
