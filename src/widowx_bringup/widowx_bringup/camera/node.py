"""One camera on the ROS graph: publishes its images and its calibration, as every camera driver of ROS does.

A lifecycle node that serves the simulated camera, which it renders here in a process of its
own, and real ones. Its topics are relative: the namespace `camera/<name>` makes them those
of `image_topic` and `camera_info_topic`.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CameraInfo, Image, JointState

from ptr_common import qos
from ptr_common.images import fill_message
from ptr_common.managed_node import (
    PIXELS,
    Health,
    ManagedNode,
    now_ns,
    parameter,
    run,
    to_ns,
    to_stamp,
)

from .opencv import CameraSettings, OpenCvCamera
from .protocol import TOPIC_WORLD, Camera, CameraError, CameraFeatures, Frame, FrameMonitor

LONGEST_DELAY = 30
"""Most frames by which simulated pictures may be delayed."""

PATIENCE = 5.0
"""How long a camera may show nothing before the log says so [s]: other nodes are still starting. /diagnostics says it
at once."""


class RenderedCamera:
    """Draws the states of a simulated world that lives in another process, as the `Camera` protocol.

    Args:
        features: What it is.
        delay: A picture with the stamp of one state shows the state so many before it: a
        camera whose stamps are late.
    """

    def __init__(self, features: CameraFeatures, delay: int = 0) -> None:
        self.features = features
        self._stamp_ns = 0
        self._states: deque[np.ndarray] = deque(maxlen=delay + 1)

    def connect(self) -> None:
        """Load the world's model and make ready to draw it.

        Raises:
            CameraError: If the world has no camera of this name.
        """
        from widowx_bringup.sim.world import World  # MuJoCo is needed by this device only

        self._world = World()
        if self.features.name not in self._world.cameras:
            self._world.close()
            raise CameraError(
                f"the simulated world has no camera {self.features.name!r}; there are: {', '.join(self._world.cameras)}"
            )

    def disconnect(self) -> None:
        """Let go of the renderer."""
        self._world.close()

    def show(self, message: JointState) -> None:
        """Take over a world state."""
        self._stamp_ns = to_ns(message.header.stamp)
        self._states.append(np.asarray(message.position))

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Draw the newest state, or the one so many before it that is to be seen now.

        Raises:
            CameraError: If no state has arrived.
        """
        if not self._states:
            raise CameraError(
                f"camera {self.features.name}: no world state on {TOPIC_WORLD}; is `simulation` running?"
            )
        self._world.set_state(self._states[0])
        return Frame(
            self._stamp_ns,
            self._world.render(
                self.features.name, self.features.height, self.features.width
            ),
        )


class CameraNode(ManagedNode):
    """ROS side of one camera: connected while configured, showing its pictures while active."""

    def __init__(self, **options: Any) -> None:
        super().__init__("camera_node", **options)
        parameter(
            self, "camera", "front", "name of the camera, part of its frame", settable=True
        )
        parameter(self, "width", 640, "picture width [pixels]", PIXELS, settable=True)
        parameter(self, "height", 480, "picture height [pixels]", PIXELS, settable=True)
        parameter(
            self, "rate", 30.0, "pictures per second [Hz]", (1.0, 1000.0), settable=True
        )
        parameter(
            self,
            "max_age",
            0.5,
            "oldest picture that is still published [s]",
            (0.05, 5.0),
            settable=True,
        )
        parameter(
            self,
            "device",
            "simulator",
            f"kind of camera: {', '.join(DEVICES)}",
            settable=True,
        )
        parameter(
            self,
            "delay",
            0,
            "simulator: frames by which pictures are late",
            (0, LONGEST_DELAY),
            settable=True,
        )
        parameter(
            self,
            "source",
            "0",
            "opencv: index, device path, stream or video file",
            settable=True,
        )
        parameter(
            self,
            "pixel_format",
            "MJPG",
            "opencv: FOURCC code; empty: as the camera is",
            settable=True,
        )
        parameter(
            self,
            "exposure",
            -1,
            "opencv: [100 us]; -1: automatic",
            (-1, 100_000),
            settable=True,
        )
        parameter(
            self,
            "white_balance",
            -1,
            "opencv: [K]; -1: automatic",
            (-1, 20_000),
            settable=True,
        )
        parameter(
            self,
            "focus",
            -1,
            "opencv: in the camera's units; -1: automatic",
            (-1, 10_000),
            settable=True,
        )
        self._problem = ""
        self.camera: Camera  # once configured
        self.publish_health("camera")

    # --- life cycle -----------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Connect the camera.

        Raises:
            CameraError: If it cannot be opened or does not show what is wanted.
        """
        device = self.value("device")
        if device not in DEVICES:
            raise CameraError(
                f"device {device!r} is no kind of camera; there are: {', '.join(DEVICES)}"
            )
        features = CameraFeatures(
            *(self.value(name) for name in ("camera", "width", "height", "rate"))
        )
        self._max_age = self.value("max_age")
        self._monitor = FrameMonitor(features.rate, self._max_age, lambda: now_ns(self))
        self._last_stamp_ns = -1
        self._last_well = time.monotonic()
        self._image = self.create_publisher(Image, "image_raw", qos.IMAGES)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos.IMAGES)
        self.camera = DEVICES[device](self, features)

    def cleanup(self) -> None:
        """Disconnect the camera."""
        self.camera.disconnect()

    def publish_newest(self) -> None:
        """Publish the newest picture unless it has been published."""
        if not self.active:
            return
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
        self._info.publish(
            CameraInfo(header=image.header, width=image.width, height=image.height)
        )
        self._monitor.saw(frame.stamp_ns)

    def health(self) -> Health:
        """Return the entry of /diagnostics: rate and age of the newest picture."""
        if not self.active:
            return Health(message="not active")
        missing, problem = self._monitor.problem()
        if missing:
            self.publish_newest()  # asks the device what is wrong
        if self._problem and time.monotonic() - self._last_well > PATIENCE:
            self.get_logger().error(self._problem, throttle_duration_sec=5.0)
        values = {"camera": self.camera.features.name, **frame_values(self._monitor)}
        if isinstance(self.camera, OpenCvCamera) and self.camera.refused:
            values["settings not taken"] = "; ".join(self.camera.refused)
        return frame_health(missing, (missing and self._problem) or problem, values)


def frame_values(monitor: FrameMonitor) -> dict[str, str]:
    """Return rate [Hz] and age [s] for /diagnostics."""
    return {"rate": f"{monitor.rate:.1f}", "age": f"{monitor.age:.3f}"}


def frame_health(missing: bool, problem: str, values: dict[str, str]) -> Health:
    """Return the entry of /diagnostics of a camera: missing pictures are an error, slow ones a warning."""
    if not problem:
        return Health(values=values)
    return Health(
        DiagnosticStatus.ERROR if missing else DiagnosticStatus.WARN, problem, values
    )


def _simulator(node: CameraNode, features: CameraFeatures) -> Camera:
    camera = RenderedCamera(features, node.value("delay"))
    camera.connect()

    def draw(
        message: JointState,
    ) -> None:  # states come at the camera's rate, so each becomes one picture
        camera.show(message)
        node.publish_newest()

    node.create_subscription(JointState, TOPIC_WORLD, draw, qos.NEWEST_STATE)
    return camera


def _opencv(node: CameraNode, features: CameraFeatures) -> Camera:
    fresh = node.create_guard_condition(
        node.publish_newest
    )  # wakes the executor from the reading thread
    settings = CameraSettings(
        *(
            node.value(name)
            for name in ("pixel_format", "exposure", "white_balance", "focus")
        )
    )
    camera = OpenCvCamera(
        features, node.value("source"), settings, lambda: now_ns(node), fresh.trigger
    )
    camera.connect()
    if camera.refused:
        node.get_logger().warning(
            f"camera {features.name} does not take every setting: {'; '.join(camera.refused)}"
        )
    return camera


DEVICES: dict[str, Callable[[CameraNode, CameraFeatures], Camera]] = {
    "simulator": _simulator,
    "opencv": _opencv,
}
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
