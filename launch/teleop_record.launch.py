"""Arm, camera, teleoperation and recorder: `teleop_record.launch.py`."""

from widowx_bringup.graph.ros_launch import LaunchDescription, describe


def generate_launch_description() -> LaunchDescription:
    """Describe the graph `record` of widowx_bringup/graph/graphs.py."""
    return describe("record")
