"""A camera, network stream or video file read through OpenCV, as the `Camera` protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from .protocol import CameraError, CameraFeatures, Frame
from .view import CameraView

RETRY = 1.0
"""Interval between two attempts to open a lost camera again [s]."""

MANUAL = 1.0
AUTOMATIC = 3.0
"""Values of V4L2's control of automatic exposure."""


@dataclass(frozen=True)
class CameraSettings:
    """Settings of a camera. They are fixed because a policy was trained on images with them.

    Attributes:
        pixel_format: FOURCC code; empty: the camera's own.
        exposure: Exposure time [100 us]; -1: automatic.
        white_balance: Colour temperature [K]; -1: automatic.
        focus: Focus in the camera's units; -1: automatic.
    """

    pixel_format: str = "MJPG"
    exposure: int = -1
    white_balance: int = -1
    focus: int = -1

    def properties(self) -> list[tuple[str, int, float]]:
        """Return name, OpenCV property and value of each setting.

        They are in the order in which a camera accepts them: manual mode before the value.
        An automatic setting has a mode, and no value.
        """
        auto_exposure = AUTOMATIC if self.exposure < 0 else MANUAL
        auto_white_balance = float(self.white_balance < 0)
        auto_focus = float(self.focus < 0)
        properties = [
            ("automatic exposure", cv2.CAP_PROP_AUTO_EXPOSURE, auto_exposure),
            ("automatic white balance", cv2.CAP_PROP_AUTO_WB, auto_white_balance),
            ("automatic focus", cv2.CAP_PROP_AUTOFOCUS, auto_focus),
        ]

        if self.exposure >= 0:
            properties.append(("exposure", cv2.CAP_PROP_EXPOSURE, float(self.exposure)))
        if self.white_balance >= 0:
            kelvin = float(self.white_balance)
            properties.append(("white balance", cv2.CAP_PROP_WB_TEMPERATURE, kelvin))
        if self.focus >= 0:
            properties.append(("focus", cv2.CAP_PROP_FOCUS, float(self.focus)))
        return properties


class OpenCvCamera:
    """Reads frames in a thread and keeps the newest one.

    A lost camera or stream is opened again as soon as it is back; a file ends for good.

    Attributes:
        features: Name, size and rate.
        refused: Settings that the camera did not take, in words.
    """

    def __init__(
        self,
        features: CameraFeatures,
        source: str,
        settings: CameraSettings | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        on_frame: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare to connect.

        Args:
            features: Name, size and rate; the device must deliver exactly this size.
            source: Index of the camera ("0"), device path ("/dev/v4l/by-id/…"), address of
                a stream ("http://…", "rtsp://…") or a video file, played at the rate.
            settings: Settings of a device; they do not apply to streams and files.
            now_ns: Clock that stamps the frames [ns].
            on_frame: Called in the reading thread after every new frame.
        """
        self.features = features
        self.view = CameraView()  # unknown unless somebody calibrated it
        self.refused: tuple[str, ...] = ()
        self._source = source
        self._settings = settings or CameraSettings()
        self._is_file = Path(source).is_file()
        self._now_ns = now_ns
        self._on_frame = on_frame

        self._frame: Frame | None = None  # the newest one
        self._lost = ""  # why no new frame arrives; empty while they do
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._read_frames, name="camera", daemon=True
        )

    def connect(self) -> None:
        """Open the device and wait for its first frame.

        Raises:
            CameraError: If it cannot be opened or delivers another size.
        """
        try:
            self._open()
        except CameraError:
            self._capture.release()
            raise
        self._thread.start()

    def disconnect(self) -> None:
        """Stop reading and close the device."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)
        self._capture.release()

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame.

        Args:
            max_age: Maximum age of the frame [s].

        Raises:
            CameraError: If the frame is older, or the device is not connected.
        """
        frame = self._frame
        if frame is None:
            raise CameraError(f"camera {self.features.name} is not connected")

        age = (self._now_ns() - frame.stamp_ns) * 1e-9
        if age > max_age:
            reason = self._lost or f"at most {max_age:g} s are allowed"
            raise CameraError(
                f"camera {self.features.name}: newest frame is {age:.2f} s old; {reason}"
            )
        return frame

    def _open(self) -> None:
        """Open the device, apply the settings, and read its first frame.

        Raises:
            CameraError: If it cannot be opened, or its first frame is missing or has another
                size.
        """
        name = f"camera {self.features.name}"
        source = self._source

        self._capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        if not self._capture.isOpened():
            raise CameraError(
                f"{name}: {source!r} cannot be opened; check `source`; "
                "`ptr doctor` lists the cameras"
            )
        if source.isdigit() or source.startswith("/dev/"):
            self._apply_settings()

        success, image = self._capture.read()
        if not success:
            raise CameraError(f"{name}: {source!r} delivers no image")

        height, width = image.shape[:2]
        if (width, height) != (self.features.width, self.features.height):
            raise CameraError(
                f"{name}: {source!r} delivers {width}x{height}, "
                f"not {self.features.width}x{self.features.height}; "
                "set `width` and `height` to what it delivers"
            )

        self._keep(image)

    def _apply_settings(self) -> None:
        """Set format, size, rate and all settings; note those that the device refuses.

        The pixel format comes first, because sizes and rates of a camera depend on it.
        """
        capture = self._capture
        code = self._settings.pixel_format
        if code:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*code))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.features.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.features.height)
        capture.set(cv2.CAP_PROP_FPS, self.features.rate)

        refused = []
        for name, prop, value in self._settings.properties():
            capture.set(prop, value)
            actual = capture.get(prop)
            if actual != value:
                refused.append(f"{name} is {actual:g}, not {value:g}")
        self.refused = tuple(refused)

    def _read_frames(self) -> None:
        """Read until stopped: this is the reading thread.

        A camera blocks until its next frame; a file is played at its rate.
        """
        period = 1.0 / self.features.rate
        due = time.monotonic() + period
        while not self._stop.is_set():
            success, image = self._capture.read()
            if success:
                if self._is_file:
                    self._stop.wait(max(0.0, due - time.monotonic()))
                    due += period
                self._keep(image)
            elif self._is_file:
                self._lost = f"{self._source!r} has ended"
                return
            else:
                self._reconnect()

    def _reconnect(self) -> None:
        """Try to open the lost device until it succeeds or reading is stopped."""
        self._lost = (
            f"{self._source!r} was unplugged or does not answer; it is being looked for"
        )
        while not self._stop.wait(RETRY):
            self._capture.release()
            try:
                self._open()
                self._lost = ""
                return
            except CameraError as error:
                self._lost = str(error)

    def _keep(self, image: cv2.typing.MatLike) -> None:
        """Stamp an image and keep it as the newest frame.

        Args:
            image: Shape (height, width, 3), uint8 BGR.
        """
        self._frame = Frame(self._now_ns(), cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        self._on_frame()
