"""Arm, camera, policy and recorder: `ptr_eval.launch.py policy:=BUNDLE`."""

from widowx_bringup.graph.ros_launch import LaunchDescription, describe


def generate_launch_description() -> LaunchDescription:
    """Describe the graph `eval` of widowx_bringup/graph/graphs.py."""
    return describe("eval")
