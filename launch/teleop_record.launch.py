"""Arm, camera, teleoperation and recorder: ros2 launch widowx_bringup teleop_record.launch.py"""

from widowx_bringup.graph.graphs.ros_launch import LaunchDescription, describe


def generate_launch_description() -> LaunchDescription:
    """Describe the graph `record` of widowx_bringup/graph.py."""
    return describe("record")
