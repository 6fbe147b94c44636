"""A camera, network stream or video file read through OpenCV, as the `Camera` protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from .protocol import CameraError, CameraFeatures, Frame

RETRY = 1.0
"""A lost camera is looked for this often [s]."""

MANUAL, AUTOMATIC = 1.0, 3.0
"""Values of V4L2's control of automatic exposure."""


@dataclass(frozen=True)
class CameraSettings:
    """What a camera would else adjust by itself; -1 lets it. A policy knows the pictures it was shown."""

    pixel_format: str = "MJPG"  # FOURCC code; empty: as the camera is
    exposure: int = -1  # [100 us]
    white_balance: int = -1  # [K]
    focus: int = -1  # in the camera's own units

    def properties(self) -> list[tuple[str, int, float]]:
        """Return names, OpenCV properties and values, in the order in which a camera takes them."""
        automatic = [self.exposure < 0, self.white_balance < 0, self.focus < 0]
        wanted = [
            (
                "automatic exposure",
                cv2.CAP_PROP_AUTO_EXPOSURE,
                AUTOMATIC if automatic[0] else MANUAL,
            ),
            ("automatic white balance", cv2.CAP_PROP_AUTO_WB, float(automatic[1])),
            ("automatic focus", cv2.CAP_PROP_AUTOFOCUS, float(automatic[2])),
            ("exposure", cv2.CAP_PROP_EXPOSURE, float(self.exposure)),
            ("white balance", cv2.CAP_PROP_WB_TEMPERATURE, float(self.white_balance)),
            ("focus", cv2.CAP_PROP_FOCUS, float(self.focus)),
        ]
        return [one for one in wanted if one[2] >= 0]


class OpenCvCamera:
    """Reads frames in a thread of its own, so that the newest one is there when asked for.

    A camera that is lost is looked for until it is back; a file that has ended is not.

    Attributes:
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
            features: Name, size and rate wanted; the device must deliver exactly this size.
            source: Index of the camera ("0"), device path ("/dev/v4l/by-id/…"), address of
                a stream ("http://…", "rtsp://…") or a video file, played at the rate.
            settings: Of a device; streams and files are taken as they are.
            now_ns: Clock that stamps the frames.
            on_frame: Called in the reading thread after every new frame.
        """
        self.features = features
        self.refused: tuple[str, ...] = ()
        self._source = source
        self._settings = settings or CameraSettings()
        self._is_file = Path(source).is_file()
        self._now_ns = now_ns
        self._on_frame = on_frame
        self._frame: Frame | None = None
        self._lost = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._read_frames, name="camera", daemon=True
        )

    def connect(self) -> None:
        """Open the device and wait for its first frame.

        Raises:
            CameraError: If it cannot be opened or delivers another size than wanted.
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

        Raises:
            CameraError: If it is older than `max_age` seconds, or the device ended.
        """
        frame = self._frame
        if frame is None:
            raise CameraError(f"camera {self.features.name} is not connected")
        age = (self._now_ns() - frame.stamp_ns) * 1e-9
        if age > max_age:
            why = self._lost or f"at most {max_age:g} s are allowed"
            raise CameraError(
                f"camera {self.features.name}: newest frame is {age:.2f} s old; {why}"
            )
        return frame

    def _open(self) -> None:
        """Open the device, set it up, and take its first frame."""
        name, source = f"camera {self.features.name}", self._source
        self._capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        if not self._capture.isOpened():
            raise CameraError(
                f"{name}: {source!r} cannot be opened; check `source`, and `ptr doctor` lists the cameras"
            )
        if source.isdigit() or source.startswith("/dev/"):
            self._set_up()
        got, picture = self._capture.read()
        if not got:
            raise CameraError(f"{name}: {source!r} delivers no picture")
        height, width = picture.shape[:2]
        if (width, height) != (self.features.width, self.features.height):
            raise CameraError(
                f"{name}: {source!r} delivers {width}x{height}, not {self.features.width}x{self.features.height}; "
                "set `width` and `height` to what it delivers"
            )
        self._keep(picture)

    def _set_up(self) -> None:
        capture, code = self._capture, self._settings.pixel_format
        if code:  # first: which sizes and rates there are depends on it
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*code))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.features.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.features.height)
        capture.set(cv2.CAP_PROP_FPS, self.features.rate)
        refused = []
        for name, number, value in self._settings.properties():
            capture.set(number, value)
            if capture.get(number) != value:
                refused.append(f"{name} is {capture.get(number):g}, not {value:g}")
        self.refused = tuple(refused)

    def _read_frames(self) -> None:
        period = 1.0 / self.features.rate
        due = time.monotonic() + period
        while not self._stop.is_set():
            got, picture = self._capture.read()  # a camera blocks here until its next frame
            if got:
                if self._is_file:
                    self._stop.wait(max(0.0, due - time.monotonic()))
                    due += period
                self._keep(picture)
            elif self._is_file:
                self._lost = f"{self._source!r} has ended"
                return
            else:
                self._find_again()

    def _find_again(self) -> None:
        """Open the lost device again, as often as it takes."""
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

    def _keep(self, picture: cv2.typing.MatLike) -> None:
        self._frame = Frame(self._now_ns(), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        self._on_frame()
