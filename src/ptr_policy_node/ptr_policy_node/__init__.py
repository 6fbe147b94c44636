"""Runs an exported PTR policy on a robot.

`bundle` is the format, `policy` a loaded bundle, `policy_node` its ROS node. Only the node
imports ROS; PyTorch is imported when a bundle is loaded.
"""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # Python sets it while it looks for the module of a process
    # Until a node handles signals itself, Ctrl-C ends it without a traceback of its imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
