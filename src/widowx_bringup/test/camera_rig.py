"""A camera node under test with a probe beside it, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from widowx_bringup.camera.protocol import CameraFeatures

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import CameraInfo, Image

    from widowx_bringup.camera.node import DeviceKind

FEATURES = CameraFeatures("over_shoulder", 64, 48, 30.0)


class CameraRig:
    """The node under test and a probe that keeps all it publishes.

    Args:
        devices: Kinds of camera that the node is given.
        overrides: Parameters of the node beside name and size of the camera.
    """

    def __init__(self, devices: Mapping[str, DeviceKind], **overrides: Any) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
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
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.probe):
            self.executor.add_node(node)

    def close(self) -> None:
        """Destroy both nodes."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.probe.destroy_node()

    def until(self, condition: Callable[[], object], limit: float = 15.0) -> None:
        """Spin both nodes until a condition holds."""
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.executor.spin_once(timeout_sec=0.05)
