"""`ptr teleop`: move the arm with the keyboard, or judge the rollouts of a policy.

ptr teleop --task "put the yellow cube on the white plate"
ptr teleop --watch --task "put the yellow cube on the white plate"
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

from .joining import add_graph_options, join
from .mapping import FASTEST, SLOWEST, SPEED
from .status_line import StatusLine

if TYPE_CHECKING:
    from .node import TeleopNode

STATUS_PERIOD = 0.2
"""Time between two status lines [s]."""

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
        "--view",
        action="store_true",
        help="show the camera in a window, where a display exists (default: keys alone)",
    )
    add_graph_options(parser)
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


def main(argv: list[str]) -> int:
    """Move the arm with the keyboard, and record demonstrations with single keys.

    Args:
        argv: Command line behind `ptr teleop`.

    Returns:
        Exit status.
    """
    options = _parser().parse_args(argv)
    print(f"{WATCH_HELP if options.watch else HELP}\ntask: {options.task}", flush=True)
    terminal = PersonsTerminal(options)
    try:
        return join(terminal.make_node, simulated=options.simulated)
    finally:
        terminal.close()


class PersonsTerminal:
    """A person's node with its status line and, if asked for, a window of its camera.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._line = StatusLine()
        self._node: TeleopNode | None = None
        self._window: subprocess.Popen[bytes] | None = None

    def make_node(self) -> TeleopNode:
        """Return the node of the person at this terminal, and open the window."""
        from rclpy.parameter import Parameter

        from ptr_common.managed_node import REAL_TIME

        from .devices import Keyboard
        from .node import TeleopNode

        parameters = []
        for name in ("task", "speed", "camera", "watch", "out"):
            parameters.append(Parameter(name, value=getattr(self._options, name)))
        node = TeleopNode(
            Keyboard,
            self._line.show,
            namespace=self._options.robot_name,
            parameter_overrides=parameters,
        )
        self._node = node
        node.create_timer(STATUS_PERIOD, self._draw, clock=REAL_TIME)
        if self._options.view:
            self._open_window()
        return node

    def _draw(self) -> None:
        """Draw the status line."""
        from ptr_common.managed_node import now_ns

        node = self._node
        if node is None:
            return
        image_ns, age = node.link.image_ns, None
        if image_ns:
            age = (now_ns(node) - image_ns) * 1e-9
        speed, recorded = node.mapper.speed, node.recorded
        self._line.draw(node.status.line(speed=speed, image_age=age, recorded=recorded))

    def close(self) -> None:
        """Close the window, and print what was done."""
        self._close_window()
        self._line.close()
        if self._node is not None:
            print(self._node.status.summary(), flush=True)

    def _open_window(self) -> None:
        """Show the camera in a process of its own, which hears what this one does."""
        from widowx_bringup.camera.window import missing_display

        self._close_window()
        if problem := missing_display():
            self._line.show(f"the camera is not shown: {problem}")
            return
        words = ["-m", "widowx_bringup.camera.window", "--ros-args"]
        words += ["-r", f"__ns:=/{self._options.robot_name}"]
        words += ["-p", f"camera:={self._options.camera}"]
        quiet = subprocess.DEVNULL
        self._window = subprocess.Popen([sys.executable, *words], stdin=quiet)

    def _close_window(self) -> None:
        if self._window is not None:
            self._window.terminate()
            self._window.wait()
            self._window = None
