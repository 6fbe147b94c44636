"""Runs an exported PTR policy on a robot.

`bundle` is the format, `policy` a loaded bundle, `policy_node` its ROS node. Only the node
imports ROS; PyTorch is imported when a bundle is loaded.
"""

import ptr_common  # noqa: F401  first: it decides what Ctrl-C does during the other imports
