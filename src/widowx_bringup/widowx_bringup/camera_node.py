"""One camera on the ROS graph: publishes its images and its calibration.

The same node serves the simulated camera, which it renders here in a process of its own, and real ones.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState

from ptr_policy_node import qos
from ptr_policy_node.images import fill_message
from ptr_policy_node.node import Health, now_ns, parameter, publish_diagnostics, run, to_ns, to_stamp
from ptr_policy_node.spec import camera_info_topic, image_topic

from .camera import Camera, CameraError, CameraFeatures, Frame
from .opencv_camera import OpenCvCamera

TOPIC_WORLD = "sim/world"

PATIENCE = 5.0
"""How long a camera may show nothing before the log says so [s]: other nodes are still starting. /diagnostics says it
at once."""


class RenderedCamera:
    """Draws the newest state of a simulated world that lives in another process, as the `Camera` protocol."""

    def __init__(self, features: CameraFeatures) -> None:
        self.features = features
        self._stamp_ns = 0
        self._state: np.ndarray | None = None

    def connect(self) -> None:
        """Load the world's model and make ready to draw it."""
        from .simulator import World  # MuJoCo is needed by this device only

        self._world = World()

    def disconnect(self) -> None:
        """Let go of the renderer."""
        self._world.close()

    def show(self, message: JointState) -> None:
        """Take over a world state."""
        self._stamp_ns = to_ns(message.header.stamp)
        self._state = np.asarray(message.position)

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Draw the newest state.

        Raises:
            CameraError: If no state has arrived.
        """
        if self._state is None:
            raise CameraError(f"camera {self.features.name}: no world state on {TOPIC_WORLD}; is `simulation` running?")
        self._world.set_state(self._state)
        return Frame(self._stamp_ns, self._world.render(self.features.name, self.features.height, self.features.width))


class CameraNode(Node):
    """ROS side of one camera."""

    def __init__(self, **options: Any) -> None:
        super().__init__("camera_node", **options)
        features = CameraFeatures(
            name=parameter(self, "camera", "front", "name of the camera, part of its topics"),
            width=parameter(self, "width", 640, "picture width [pixels]"),
            height=parameter(self, "height", 480, "picture height [pixels]"),
            rate=parameter(self, "rate", 30.0, "pictures per second [Hz]"),
        )
        device = parameter(self, "device", "simulator", f"kind of camera: {', '.join(DEVICES)}")
        self.source = parameter(self, "source", "0", "opencv: index, device path or video file")
        self._max_age = parameter(self, "max_age", 0.5, "oldest picture that is still published [s]")
        self._last_stamp_ns = -1
        self._published: deque[float] = deque(maxlen=32)
        self._problem = ""
        self._last_well = time.monotonic()
        self._image = self.create_publisher(Image, image_topic(features.name), qos.IMAGES)
        self._info = self.create_publisher(CameraInfo, camera_info_topic(features.name), qos.IMAGES)
        if device not in DEVICES:
            raise CameraError(f"device {device!r} is no kind of camera; there are: {', '.join(DEVICES)}")
        self.camera = DEVICES[device](self, features)
        publish_diagnostics(self, features.name, self.health)

    def destroy_node(self) -> None:
        """Close the camera."""
        self.camera.disconnect()
        super().destroy_node()

    def publish_newest(self) -> None:
        """Publish the newest picture unless it has been published."""
        try:
            frame = self.camera.read_latest(self._max_age)
        except CameraError as error:
            self._problem = str(error)
            return
        self._problem, self._last_well = "", time.monotonic()
        if frame.stamp_ns == self._last_stamp_ns:
            return
        self._last_stamp_ns = frame.stamp_ns
        self._image.publish(image := _image_message(frame, self.camera.features.name))
        self._info.publish(CameraInfo(header=image.header, width=image.width, height=image.height))
        self._published.append(time.monotonic())

    def health(self) -> Health:
        """Return the entry of /diagnostics: rate [Hz, real time] and age of the newest picture [s]."""
        times = [moment for moment in self._published if moment > time.monotonic() - 2.0]
        if not times:
            self.publish_newest()  # asks the device what is wrong
        if self._problem and time.monotonic() - self._last_well > PATIENCE:
            self.get_logger().error(self._problem, throttle_duration_sec=5.0)
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
        values = {"rate": f"{rate:.1f}", "age": f"{(now_ns(self) - self._last_stamp_ns) * 1e-9:.3f}"}
        if self._problem or not times:
            return Health(DiagnosticStatus.ERROR, self._problem or "no new picture for 2 s", values)
        return Health(values=values)


def _simulator(node: CameraNode, features: CameraFeatures) -> Camera:
    camera = RenderedCamera(features)
    camera.connect()

    def draw(message: JointState) -> None:  # states come at the camera's rate, so each becomes one picture
        camera.show(message)
        node.publish_newest()

    node.create_subscription(JointState, TOPIC_WORLD, draw, qos.NEWEST_STATE)
    return camera


def _opencv(node: CameraNode, features: CameraFeatures) -> Camera:
    fresh = node.create_guard_condition(node.publish_newest)  # wakes the executor from the reading thread
    camera = OpenCvCamera(features, node.source, lambda: now_ns(node), fresh.trigger)
    camera.connect()
    return camera


DEVICES: dict[str, Callable[[CameraNode, CameraFeatures], Camera]] = {"simulator": _simulator, "opencv": _opencv}
"""Kinds of camera; another one needs a function here and nothing else."""


def _image_message(frame: Frame, camera: str) -> Image:
    message = Image()
    fill_message(message, frame.image)
    message.header.stamp = to_stamp(frame.stamp_ns)
    message.header.frame_id = f"{camera}_optical_frame"
    return message


def main() -> int:
    """Run the camera node."""
    return run(CameraNode)


if __name__ == "__main__":
    sys.exit(main())
