"""One camera on the ROS graph: publishes its images and its calibration.

A lifecycle node. Its topics are relative: the namespace `camera/<name>` makes them those of
`image_topic` and `camera_info_topic`, where every camera driver of ROS publishes. The kinds
of device are handed in; the executable with all of them is `sim/camera_node.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from sensor_msgs.msg import CameraInfo, Image

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, pose
from ptr_common.images import fill_message
from ptr_common.managed_node import (
    PIXELS,
    Health,
    ManagedNode,
    now_ns,
    parameter,
    to_stamp,
)
from ptr_common.rotation import quaternion_from_rotation, rotation_from_rpy
from ptr_common.topics import TOPIC_STATIC_TRANSFORMS

from .compressed import CompressedImages
from .opencv import CameraSettings, OpenCvCamera
from .protocol import Camera, CameraError, CameraFeatures, Frame, FrameMonitor
from .view import CameraView, intrinsic_matrix, optical_frame

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # not among the wheels
    TFMessage = None

PATIENCE = 5.0
"""Time without an image before the log reports the camera [s]; other nodes may still be
starting. /diagnostics reports it at once."""


@dataclass(frozen=True)
class DeviceKind:
    """One kind of camera that the node can read.

    Attributes:
        declare: Declares the parameters that only this kind has.
        connect: Returns a connected camera. It also arranges that `publish_newest` of the
            node is called after every new image. Raises CameraError if the device cannot
            be opened.
    """

    declare: Callable[[CameraNode], None]
    connect: Callable[[CameraNode, CameraFeatures], Camera]


class CameraNode(ManagedNode):
    """ROS side of one camera: connected while configured, publishing while active.

    Attributes:
        camera: The connected camera; exists once the node is configured.
    """

    camera: Camera

    def __init__(self, devices: Mapping[str, DeviceKind], **options: Any) -> None:
        """Declare the parameters.

        Args:
            devices: Kinds of camera by the value of the parameter `device`; the first is
                its default.
            options: Passed on to `ManagedNode`.
        """
        super().__init__("camera_node", **options)
        self._devices = devices
        self._problem = ""
        parameter(
            self, "camera", "front", "name of the camera, part of its frame", settable=True
        )
        parameter(self, "width", 640, "image width [pixels]", PIXELS, settable=True)
        parameter(self, "height", 480, "image height [pixels]", PIXELS, settable=True)
        parameter(
            self, "rate", 30.0, "images per second [Hz]", (1.0, 1000.0), settable=True
        )
        oldest = "maximum age of a published image [s]"
        parameter(self, "max_age", 0.5, oldest, (0.05, 5.0), settable=True)
        frame = "frame of the camera's pose"
        parameter(self, "base_frame", BASE_FRAME, frame, settable=True)
        kinds = f"kind of camera: {', '.join(devices)}"
        parameter(self, "device", next(iter(devices)), kinds, settable=True)
        for kind in devices.values():
            kind.declare(self)
        self.publish_health("camera")

    # --- life cycle -------------------------------------------------------------------------

    def configure(self) -> None:
        """Connect the camera.

        Raises:
            CameraError: If it cannot be opened or its images have another size.
        """
        device = self.value("device")
        if device not in self._devices:
            raise CameraError(
                f"device {device!r} is no kind of camera; "
                f"there are: {', '.join(self._devices)}"
            )
        features = CameraFeatures(
            self.value("camera"),
            self.value("width"),
            self.value("height"),
            self.value("rate"),
        )
        self._max_age = self.value("max_age")
        self._monitor = FrameMonitor(features.rate, self._max_age, lambda: now_ns(self))
        self._last_stamp_ns = -1
        self._last_well = time.monotonic()
        self._image = self.create_publisher(Image, "image_raw", qos.IMAGES)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos.IMAGES)
        self._compressed = CompressedImages(self)
        self.camera = self._devices[device].connect(self, features)
        self._publish_pose()

    def _publish_pose(self) -> None:
        """Publish the pose of the optical frame once, if it is known."""
        T_base_optical = self.camera.view.T_base_optical
        if T_base_optical is None or TFMessage is None:
            return
        frame = optical_frame(self.camera.features.name)
        transform = _transform_message(T_base_optical, self.value("base_frame"), frame)
        transform.header.stamp = to_stamp(now_ns(self))
        self._pose = self.create_publisher(TFMessage, TOPIC_STATIC_TRANSFORMS, qos.STATIC)
        self._pose.publish(TFMessage(transforms=[transform]))

    def cleanup(self) -> None:
        """Disconnect the camera."""
        self._compressed.close()
        self.camera.disconnect()

    # --- images and their state -------------------------------------------------------------

    def publish_newest(self) -> None:
        """Publish the newest image unless it has been published."""
        if not self.active:
            return
        try:
            frame = self.camera.read_latest(self._max_age)
        except CameraError as error:
            self._problem = str(error)
            return
        self._problem = ""
        self._last_well = time.monotonic()
        if frame.stamp_ns == self._last_stamp_ns:
            return
        self._last_stamp_ns = frame.stamp_ns
        image = _image_message(frame, self.camera.features.name)
        self._image.publish(image)
        self._info.publish(_info_message(image, self.camera.view))
        self._compressed.offer(image)
        self._monitor.on_image(frame.stamp_ns)

    def health(self) -> Health:
        """Return the entry of /diagnostics: rate and age of the newest image."""
        if not self.active:
            return Health(message="not active")
        missing, problem = self._monitor.problem()
        if missing:
            self.publish_newest()  # the device then reports its problem
            problem = self._problem or problem
        if self._problem and time.monotonic() - self._last_well > PATIENCE:
            self.get_logger().error(self._problem, throttle_duration_sec=5.0)
        values = {
            "camera": self.camera.features.name,
            "pose": _pose_text(self.camera.view),
            **frame_values(self._monitor),
        }
        if isinstance(self.camera, OpenCvCamera) and self.camera.refused:
            values["settings not taken"] = "; ".join(self.camera.refused)
        return frame_health(missing, problem, values)


def frame_values(monitor: FrameMonitor) -> dict[str, str]:
    """Return rate [Hz] and age [s] for /diagnostics."""
    return {"rate": f"{monitor.rate:.1f}", "age": f"{monitor.age:.3f}"}


def frame_health(missing: bool, problem: str, values: dict[str, str]) -> Health:
    """Return a camera's entry of /diagnostics.

    Args:
        missing: Whether images are missing, which is an error; slow images are a warning.
        problem: Description of the problem; empty if there is none.
        values: Values of the entry.
    """
    if not problem:
        return Health(values=values)
    level = DiagnosticStatus.ERROR if missing else DiagnosticStatus.WARN
    return Health(level, problem, values)


def _image_message(frame: Frame, camera: str) -> Image:
    message = Image()
    fill_message(message, frame.image)
    message.header.stamp = to_stamp(frame.stamp_ns)
    message.header.frame_id = optical_frame(camera)
    return message


def _info_message(image: Image, view: CameraView) -> CameraInfo:
    """Return the calibration that belongs to an image; zeros where it is unknown."""
    info = CameraInfo(header=image.header, width=image.width, height=image.height)
    if view.K is not None:
        info.distortion_model = "plumb_bob"
        info.d = [0.0] * 5
        info.k = view.K.reshape(9)
        info.r = np.eye(3).reshape(9)
        info.p = np.column_stack([view.K, np.zeros(3)]).reshape(12)
    return info


def _transform_message(T: np.ndarray, base_frame: str, frame: str) -> TransformStamped:
    """Return the transform of a frame at a pose, (4, 4) [m], in the base frame; no stamp yet."""
    x, y, z = T[:3, 3].tolist()
    qx, qy, qz, qw = quaternion_from_rotation(T[:3, :3]).tolist()
    message = TransformStamped(child_frame_id=frame)
    message.header.frame_id = base_frame
    message.transform = Transform(
        translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw)
    )
    return message


def _pose_text(view: CameraView) -> str:
    """Return for /diagnostics whether the camera's pose is on /tf_static, or why it is not."""
    if view.T_base_optical is None:
        return "not calibrated"
    return TOPIC_STATIC_TRANSFORMS if TFMessage else "not published: tf2_msgs is missing"


# --- the device `opencv` --------------------------------------------------------------------


def _declare_opencv(node: CameraNode) -> None:
    parameter(
        node,
        "source",
        "0",
        "opencv: index, device path, stream or video file",
        settable=True,
    )
    parameter(
        node,
        "pixel_format",
        "MJPG",
        "opencv: FOURCC code; empty: the camera's own",
        settable=True,
    )
    parameter(
        node,
        "exposure",
        -1,
        "opencv: [100 us]; -1: automatic",
        (-1, 100_000),
        settable=True,
    )
    parameter(
        node,
        "white_balance",
        -1,
        "opencv: [K]; -1: automatic",
        (-1, 20_000),
        settable=True,
    )
    parameter(
        node,
        "focus",
        -1,
        "opencv: in the camera's units; -1: automatic",
        (-1, 10_000),
        settable=True,
    )
    intrinsics = "opencv: fx, fy, cx, cy [pixels]; one number: unknown"
    parameter(node, "intrinsics", [0.0], intrinsics, settable=True)
    placed = (
        "opencv: x, y, z [m], roll, pitch, yaw [rad] of the optical frame; one: unknown"
    )
    parameter(node, "pose", [0.0], placed, settable=True)


def _calibrated_view(intrinsics: Sequence[float], placed: Sequence[float]) -> CameraView:
    """Return the view of a camera that somebody calibrated.

    Args:
        intrinsics: fx, fy, cx, cy [pixels]; one number if unknown.
        placed: x, y, z [m], roll, pitch, yaw [rad] of the optical frame in the base frame; one
            number if unknown.

    Raises:
        CameraError: If there are other numbers of numbers, or a focal length is none.
    """
    K, T = None, None
    if len(intrinsics) != 1:
        if len(intrinsics) != 4 or min(intrinsics[:2]) <= 0:
            raise CameraError(
                f"intrinsics are {list(intrinsics)}; needed are fx, fy, cx, cy [pixels]"
            )
        K = intrinsic_matrix(*intrinsics)
    if len(placed) != 1:
        if len(placed) != 6:
            raise CameraError(
                f"pose is {list(placed)}; needed are x, y, z [m], roll, pitch, yaw [rad]"
            )
        T = pose(rotation_from_rpy(np.array(placed[3:])), np.array(placed[:3]))
    return CameraView(K, T)


def _connect_opencv(node: CameraNode, features: CameraFeatures) -> OpenCvCamera:
    # The reading thread wakes the executor through this condition.
    new_image = node.create_guard_condition(node.publish_newest)
    settings = CameraSettings(
        node.value("pixel_format"),
        node.value("exposure"),
        node.value("white_balance"),
        node.value("focus"),
    )
    camera = OpenCvCamera(
        features, node.value("source"), settings, lambda: now_ns(node), new_image.trigger
    )
    camera.view = _calibrated_view(node.value("intrinsics"), node.value("pose"))
    camera.connect()
    if camera.refused:
        node.get_logger().warning(
            f"camera {features.name} does not take every setting: "
            f"{'; '.join(camera.refused)}"
        )
    return camera


DEVICES = {"opencv": DeviceKind(_declare_opencv, _connect_opencv)}
"""Kinds of real camera; another one needs an entry here and nothing else."""
