"""Cameras, streams and video files read through OpenCV."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest
from camera_rig import FEATURES

from widowx_bringup.camera import opencv
from widowx_bringup.camera.opencv import CameraSettings, OpenCvCamera
from widowx_bringup.camera.protocol import CameraError, CameraFeatures


def wait_for(condition: Callable[[], object], limit: float = 10.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


def test_newest_frame_is_rgb_and_stamped(video: str) -> None:
    camera = OpenCvCamera(FEATURES, video)
    camera.connect()
    try:
        first = camera.read_latest()
        wait_for(lambda: camera.read_latest().stamp_ns > first.stamp_ns + 300_000_000)
        later = camera.read_latest()
        assert later.image.shape == (48, 64, 3)
        assert later.image[..., 0].mean() > first.image[..., 0].mean() + 5  # redder
        assert later.image[..., 2].mean() < 10
    finally:
        camera.disconnect()


def test_ended_device_is_an_error_once_its_frame_is_old(video: str) -> None:
    camera = OpenCvCamera(CameraFeatures("c", 64, 48, 1000.0), video)
    camera.connect()
    try:
        wait_for(lambda: camera._lost)
        time.sleep(0.02)  # the age asked about below
        with pytest.raises(CameraError, match="has ended"):
            camera.read_latest(max_age=0.01)
    finally:
        camera.disconnect()


@pytest.mark.parametrize(
    ("features", "source", "message"),
    [
        (FEATURES, "nowhere.avi", "'nowhere.avi' cannot be opened; check `source`"),
        (
            CameraFeatures("c", 640, 480, 30.0),
            None,
            "delivers 64x48, not 640x480; set `width` and `height`",
        ),
    ],
)
def test_unusable_device_is_refused(
    video: str, features: CameraFeatures, source: str | None, message: str
) -> None:
    with pytest.raises(CameraError, match=message):
        OpenCvCamera(features, source or video).connect()


class Stream(ThreadingHTTPServer):
    """A network camera: JPEG images over HTTP for as long as it is plugged in."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        self.plugged = True
        super().__init__(("127.0.0.1", port), StreamHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def unplug(self) -> None:
        self.plugged = False
        self.shutdown()
        self.server_close()


class StreamHandler(BaseHTTPRequestHandler):
    server: Stream

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=image")
        self.end_headers()
        jpeg = cv2.imencode(
            ".jpg", np.full((FEATURES.height, FEATURES.width, 3), 90, np.uint8)
        )[1].tobytes()
        head = b"--image\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(
            jpeg
        )
        with contextlib.suppress(ConnectionError):
            while self.server.plugged:
                self.wfile.write(head + jpeg + b"\r\n")
                time.sleep(1 / 30)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_lost_camera_is_told_and_shows_again_once_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opencv, "RETRY", 0.05)
    stream = Stream()
    camera = OpenCvCamera(FEATURES, f"http://127.0.0.1:{stream.server_port}/stream.mjpg")
    camera.connect()
    try:
        stream.unplug()
        wait_for(lambda: camera._lost)
        lost = camera._frame.stamp_ns if camera._frame else 0
        with pytest.raises(
            CameraError, match=r"was unplugged or does not answer|cannot be opened"
        ):
            wait_for(lambda: not camera.read_latest(max_age=0.2))
        stream = Stream(stream.server_port)
        wait_for(lambda: camera._frame and camera._frame.stamp_ns > lost)
        assert camera.read_latest(max_age=5.0).image.shape == (48, 64, 3)
    finally:
        camera.disconnect()
        stream.unplug()


class V4l2Capture:
    """What OpenCV shows of a camera that has no focus and whose exposure has steps of 10."""

    controls: dict[int, float]

    def __init__(self, source: str) -> None:
        V4l2Capture.controls = {}

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, number: int, value: float) -> bool:
        if number in (cv2.CAP_PROP_FOCUS, cv2.CAP_PROP_AUTOFOCUS):
            return False
        self.controls[number] = (
            value // 10 * 10 if number == cv2.CAP_PROP_EXPOSURE else value
        )
        return True

    def get(self, number: int) -> float:
        return self.controls.get(number, 0.0)

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.01)
        return True, np.zeros((FEATURES.height, FEATURES.width, 3), np.uint8)

    def release(self) -> None:
        """Nothing is open."""


def test_exposure_and_white_balance_are_fixed_and_what_the_camera_does_not_take_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", V4l2Capture)
    settings = CameraSettings(exposure=155, white_balance=4600, focus=20)
    camera = OpenCvCamera(FEATURES, "/dev/v4l/by-id/usb-cam-video-index0", settings)
    camera.connect()
    camera.disconnect()
    controls = V4l2Capture.controls
    assert controls[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert (controls[cv2.CAP_PROP_FRAME_WIDTH], controls[cv2.CAP_PROP_FPS]) == (64, 30)
    assert (controls[cv2.CAP_PROP_AUTO_EXPOSURE], controls[cv2.CAP_PROP_AUTO_WB]) == (
        1,
        0,
    )  # manual
    assert controls[cv2.CAP_PROP_WB_TEMPERATURE] == 4600
    assert camera.refused == ("exposure is 150, not 155", "focus is 0, not 20")


def test_a_camera_left_alone_adjusts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", V4l2Capture)
    camera = OpenCvCamera(FEATURES, "0", CameraSettings(pixel_format=""))
    camera.connect()
    camera.disconnect()
    assert (
        V4l2Capture.controls[cv2.CAP_PROP_AUTO_EXPOSURE],
        V4l2Capture.controls[cv2.CAP_PROP_AUTO_WB],
    ) == (3, 1)
    assert not {cv2.CAP_PROP_EXPOSURE, cv2.CAP_PROP_FOURCC} & V4l2Capture.controls.keys()
