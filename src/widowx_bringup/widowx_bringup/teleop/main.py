"""`ptr teleop`: move the arm with the keyboard, or judge the rollouts of a policy.

ptr teleop --task "put the yellow cube on the white plate"
ptr teleop --watch --task "put the yellow cube on the white plate"
"""

from __future__ import annotations

import argparse
import os
import signal
from functools import partial

from widowx_bringup.graph.arguments import CAMERA, ROBOT_NAME
from widowx_bringup.graph.environment import environment
from widowx_bringup.graph.spec import Argument

from .mapping import FASTEST, SLOWEST, SPEED

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
        "--out",
        default="",
        metavar="FOLDER",
        help="with --watch: folder that receives verdicts.jsonl, a line for each verdict "
        "(default: the verdicts are in the bags alone)",
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


def _value_of(argument: Argument, text: str) -> str:
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
    if options.simulated or _hears_this_computer_only():
        return _teleoperate(options, local=True)[0]
    status, found = _teleoperate(options, local=False)
    return _teleoperate(options, local=True)[0] if found else status


def _hears_this_computer_only() -> bool:
    """Return whether the shell keeps every node to this computer already."""
    variables = environment({"use_sim": "true"}).items()
    return all(os.environ.get(name) == value for name, value in variables if "ROS_" in name)


def _teleoperate(options: argparse.Namespace, *, local: bool) -> tuple[int, bool]:
    """Run the node of a person.

    Args:
        options: The command line.
        local: Hear the nodes of this computer only.

    Returns:
        Exit status, and whether it ended because a simulated graph runs on this computer,
        which only a node that hears this computer alone is sure to see.
    """
    os.environ.update(environment({"use_sim": str(local).lower()}))
    from rclpy.parameter import Parameter

    from ptr_common.managed_node import run

    from .devices import Keyboard
    from .local_simulation import LocalSimulation
    from .node import TeleopNode

    parameters = []
    for name in ("task", "speed", "camera", "watch", "out"):
        parameters.append(Parameter(name, value=getattr(options, name)))
    found = False
    search: LocalSimulation | None = None

    def make_node() -> TeleopNode:
        nonlocal search
        node = TeleopNode(
            Keyboard, print, namespace=options.robot_name, parameter_overrides=parameters
        )
        if not local:
            search = LocalSimulation(node, note_found)
        return node

    def note_found() -> None:
        nonlocal found
        found = True
        signal.raise_signal(signal.SIGINT)

    status = run(make_node, arguments=[])
    if search is not None:
        search.close()
    return status, found
