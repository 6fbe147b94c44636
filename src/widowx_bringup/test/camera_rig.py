"""A camera node under test with a probe beside it, over real DDS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from probe_rig import ProbeRig

from widowx_bringup.camera.protocol import CameraFeatures

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import CameraInfo, Image

    from widowx_bringup.camera.node import DeviceKind

FEATURES = CameraFeatures("over_shoulder", 64, 48, 30.0)


class CameraRig(ProbeRig):
    """The node under test and a probe that keeps all it publishes.

    Args:
        devices: Kinds of camera that the node is given.
        overrides: Parameters of the node beside name and size of the camera.
    """

    def __init__(self, devices: Mapping[str, DeviceKind], **overrides: Any) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.parameter import Parameter
        from sensor_msgs.msg import CameraInfo, Image, JointState

        from ptr_common import qos
        from widowx_bringup.camera.node import CameraNode

        values = {
            "camera": FEATURES.name,
            "width": FEATURES.width,
            "height": FEATURES.height,
            **overrides,
        }
        self.node = CameraNode(
            devices,
            parameter_overrides=[Parameter(name, value=values[name]) for name in values],
            namespace=f"camera/{FEATURES.name}",
        )
        self.probe = rclpy.create_node("probe")
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.worlds = self.probe.create_publisher(
            JointState, "camera/over_shoulder/sim/world", qos.STATE
        )
        for kind, topic, messages, profile in (
            (Image, "camera/over_shoulder/image_raw", self.images, qos.IMAGES),
            (CameraInfo, "camera/over_shoulder/camera_info", self.infos, qos.IMAGES),
            (DiagnosticArray, "/diagnostics", self.diagnostics, qos.STATE),
        ):
            self.probe.create_subscription(kind, topic, messages.append, profile)
        self.node.start()
        self.add_nodes()
