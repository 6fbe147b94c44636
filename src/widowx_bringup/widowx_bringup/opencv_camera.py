"""A camera (or a video file) read through OpenCV, as the `Camera` protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from .camera import CameraError, CameraFeatures, Frame


class OpenCvCamera:
    """Reads frames in a thread of its own, so that the newest one is there when asked for.

    Args:
        features: Name, size and rate wanted; the device must deliver exactly this size.
        source: Index of the camera ("0"), device path ("/dev/v4l/by-id/…") or a video file, played at the rate.
        now_ns: Clock that stamps the frames.
        on_frame: Called in the reading thread after every new frame.
    """

    def __init__(
        self,
        features: CameraFeatures,
        source: str,
        now_ns: Callable[[], int] = time.time_ns,
        on_frame: Callable[[], object] = lambda: None,
    ) -> None:
        self.features = features
        self._source = source
        self._is_file = Path(source).is_file()
        self._now_ns = now_ns
        self._on_frame = on_frame
        self._frame: Frame | None = None
        self._ended = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_frames, name="camera", daemon=True)

    def connect(self) -> None:
        """Open the device and wait for its first frame.

        Raises:
            CameraError: If it cannot be opened or delivers another size than wanted.
        """
        self._capture = cv2.VideoCapture(int(self._source) if self._source.isdigit() else self._source)
        if not self._capture.isOpened():
            raise CameraError(f"camera {self.features.name}: {self._source!r} cannot be opened; check `source`")
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.features.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.features.height)
        self._capture.set(cv2.CAP_PROP_FPS, self.features.rate)
        got, picture = self._capture.read()
        if not got:
            raise CameraError(f"camera {self.features.name}: {self._source!r} delivers no picture")
        height, width = picture.shape[:2]
        if (width, height) != (self.features.width, self.features.height):
            raise CameraError(
                f"camera {self.features.name}: {self._source!r} delivers {width}x{height}, "
                f"not {self.features.width}x{self.features.height}; set `width` and `height` to what it delivers"
            )
        self._keep(picture)
        self._thread.start()

    def disconnect(self) -> None:
        """Stop reading and close the device."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)
        self._capture.release()

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame.

        Raises:
            CameraError: If it is older than `max_age` seconds, or the device ended.
        """
        frame = self._frame
        if frame is None:
            raise CameraError(f"camera {self.features.name} is not connected")
        age = (self._now_ns() - frame.stamp_ns) * 1e-9
        if age > max_age:
            why = self._ended or f"at most {max_age:g} s are allowed"
            raise CameraError(f"camera {self.features.name}: newest frame is {age:.2f} s old; {why}")
        return frame

    def _read_frames(self) -> None:
        period = 1.0 / self.features.rate
        due = time.monotonic() + period
        while not self._stop.is_set():
            got, picture = self._capture.read()  # a camera blocks here until its next frame
            if not got:
                self._ended = f"{self._source!r} has ended or was unplugged"
                return
            if self._is_file:
                self._stop.wait(max(0.0, due - time.monotonic()))
                due += period
            self._keep(picture)

    def _keep(self, picture: cv2.typing.MatLike) -> None:
        self._frame = Frame(self._now_ns(), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        self._on_frame()
