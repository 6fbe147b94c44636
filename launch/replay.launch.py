"""A recorded bag into the policy, no arm moves: `replay.launch.py bag:=BAG policy:=BUNDLE`."""

from widowx_bringup.graph.ros_launch import LaunchDescription, describe


def generate_launch_description() -> LaunchDescription:
    """Describe the graph `replay` of widowx_bringup/graph/graphs.py."""
    return describe("replay")
