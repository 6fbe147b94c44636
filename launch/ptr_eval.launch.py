"""Arm, camera, policy and recorder: ros2 launch widowx_bringup ptr_eval.launch.py policy:=BUNDLE"""

from widowx_bringup.graph.graphs.ros_launch import LaunchDescription, describe


def generate_launch_description() -> LaunchDescription:
    """Describe the graph `eval` of widowx_bringup/graph.py."""
    return describe("eval")
