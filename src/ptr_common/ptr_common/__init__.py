"""What every package shares: errors, action space, topics, files, images, the command `ptr`.

It is imported before anything else, and so decides what Ctrl-C does during the imports: it ends
a program of ours at once, where nothing is to be undone yet; see `process/interrupts.py`.
"""

import signal
import sys

PROGRAMS = frozenset(
    {
        "arm_node",
        "bag_player",
        "camera_monitor",
        "camera_node",
        "console_node",
        "driver_keeper",
        "policy_node",
        "policy_shadow",
        "ptr",
        "recorder_node",
        "scripted_teleop",
        "simulation",
        "task_server",
        "teleop_node",
    }
)
"""Our programs, by the names of their files; other processes that import us are left alone."""

_program = (getattr(sys, "argv", None) or [""])[0]

# Python calls a program "-m" while it looks for its module, of which we are a part.
OURS = _program == "-m" or _program.rpartition("/")[2] in PROGRAMS
"""Whether this process is a program of ours, started by name or by `python -m`."""

if OURS:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The process that started this one may hold them back until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
