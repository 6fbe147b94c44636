"""A recorded bag into the policy, no arm moves: ros2 launch widowx_bringup replay.launch.py bag:=BAG policy:=BUNDLE"""

from widowx_bringup.graph.graphs.ros_launch import LaunchDescription, describe


def generate_launch_description() -> LaunchDescription:
    """Describe the graph `replay` of widowx_bringup/graph.py."""
    return describe("replay")
