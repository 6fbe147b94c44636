"""Cameras: a video file through OpenCV, the simulated world drawn in another node, and both over real DDS."""

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

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, JointState  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.images import RawImage  # noqa: E402
from ptr_common.managed_node import to_ns, to_stamp  # noqa: E402
from widowx_bringup.camera import opencv as opencv_camera  # noqa: E402
from widowx_bringup.camera.node import CameraNode  # noqa: E402
from widowx_bringup.camera.opencv import CameraSettings, OpenCvCamera  # noqa: E402
from widowx_bringup.camera.protocol import CameraError, CameraFeatures  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK, draw_layout  # noqa: E402
from widowx_bringup.sim.world import World  # noqa: E402

FEATURES = CameraFeatures("over_shoulder", 64, 48, 30.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A film of 40 pictures, of which each is a little redder than the one before."""
    path = str(tmp_path_factory.mktemp("video") / "film.avi")
    writer = cv2.VideoWriter(
        path,
        cv2.VideoWriter.fourcc(*"MJPG"),
        FEATURES.rate,
        (FEATURES.width, FEATURES.height),
    )
    for index in range(40):
        picture = np.zeros((FEATURES.height, FEATURES.width, 3), np.uint8)
        picture[..., 2] = 6 * index  # OpenCV writes blue, green, red
        writer.write(picture)
    writer.release()
    return path


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
    """A network camera: JPEG pictures over HTTP for as long as it is plugged in."""

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
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        jpeg = cv2.imencode(
            ".jpg", np.full((FEATURES.height, FEATURES.width, 3), 90, np.uint8)
        )[1].tobytes()
        head = b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(
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
    monkeypatch.setattr(opencv_camera, "RETRY", 0.05)
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


class Rig:
    """The node under test and a probe."""

    def __init__(self, **overrides: Any) -> None:
        values = {
            "camera": FEATURES.name,
            "width": FEATURES.width,
            "height": FEATURES.height,
            **overrides,
        }
        overrides = [Parameter(k, value=v) for k, v in values.items()]
        self.node = CameraNode(
            parameter_overrides=overrides, namespace=f"camera/{FEATURES.name}"
        )
        self.probe = rclpy.create_node("probe")
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.worlds = self.probe.create_publisher(
            JointState, "camera/over_shoulder/sim/world", qos.STATE
        )
        self.probe.create_subscription(
            Image, "camera/over_shoulder/image_raw", self.images.append, qos.IMAGES
        )
        self.probe.create_subscription(
            CameraInfo, "camera/over_shoulder/camera_info", self.infos.append, qos.IMAGES
        )
        self.probe.create_subscription(
            DiagnosticArray, "/diagnostics", self.diagnostics.append, qos.STATE
        )
        self.node.start()
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.probe):
            self.executor.add_node(node)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.probe.destroy_node()

    def until(self, condition: Callable[[], object], limit: float = 15.0) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.executor.spin_once(timeout_sec=0.05)


@pytest.mark.usefixtures("ros")
def test_every_frame_of_a_device_is_published_once(video: str) -> None:
    rig = Rig(device="opencv", source=video)
    try:
        rig.until(lambda: len(rig.images) >= 20)
        stamps = [to_ns(image.header.stamp) for image in rig.images]
        assert len(set(stamps)) == len(stamps)
        redness = [
            RawImage.from_message(image).rgb()[..., 0].mean() for image in rig.images
        ]
        assert (np.diff(redness) > 0).all()
        rig.until(lambda: len(rig.infos) >= 20)
        assert (rig.infos[0].width, rig.infos[0].height) == (64, 48)
    finally:
        rig.close()


@pytest.mark.usefixtures("ros")
def test_lost_camera_is_on_diagnostics(video: str) -> None:
    rig = Rig(device="opencv", source=video, rate=300.0)
    try:
        rig.until(lambda: any("has ended" in m.status[0].message for m in rig.diagnostics))
        assert rig.diagnostics[-1].status[0].level == DiagnosticStatus.ERROR
    finally:
        rig.close()


@pytest.mark.usefixtures("ros")
def test_world_state_becomes_the_picture_the_simulator_would_draw() -> None:
    world = World()
    world.reset(draw_layout(TARGET_TASK, 1))
    rig = Rig(device="simulator")
    message = JointState(position=world.state().tolist())
    message.header.stamp = to_stamp(12_345_678_901)
    try:

        def shown() -> bool:
            rig.worlds.publish(message)
            return bool(rig.images)

        rig.until(shown)
        assert to_ns(rig.images[0].header.stamp) == 12_345_678_901
        expected = world.render("over_shoulder", FEATURES.height, FEATURES.width)
        difference = np.abs(
            RawImage.from_message(rig.images[0]).rgb().astype(int) - expected
        )
        assert difference.mean() < 0.5
    finally:
        rig.close()
        world.close()


@pytest.mark.usefixtures("ros")
def test_a_delayed_picture_shows_the_world_of_so_many_frames_before_its_stamp() -> None:
    world = World()
    worlds = []
    for seed in range(4):
        world.reset(draw_layout(TARGET_TASK, seed))
        worlds.append(world.state())
    rig = Rig(device="simulator", delay=2)
    try:
        rig.until(lambda: rig.worlds.get_subscription_count())
        for number, state in enumerate(worlds, start=1):
            message = JointState(position=state.tolist())
            message.header.stamp = to_stamp(number * 1_000_000_000)
            rig.worlds.publish(message)
            rig.until(
                lambda number=number: any(
                    to_ns(i.header.stamp) == number * 1_000_000_000 for i in rig.images
                )
            )
        world.set_state(worlds[1])
        expected = world.render("over_shoulder", FEATURES.height, FEATURES.width)
        newest = RawImage.from_message(rig.images[-1]).rgb().astype(int)
        assert np.abs(newest - expected).mean() < 0.5
    finally:
        rig.close()
        world.close()


@pytest.mark.usefixtures("ros")
@pytest.mark.parametrize("delay", [-1, 31])
def test_impossible_delay_is_refused(delay: int) -> None:
    with pytest.raises(PtrError, match="parameter delay of camera_node"):
        Rig(device="simulator", delay=delay)


@pytest.mark.usefixtures("ros")
def test_unknown_kind_of_camera_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PtrError, match="there are: simulator, opencv"):
        Rig(device="polaroid")


@pytest.mark.usefixtures("ros")
def test_a_camera_that_the_simulated_world_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(
        PtrError, match="no camera 'ceiling'; there are: over_shoulder, front"
    ):
        Rig(device="simulator", camera="ceiling")


@pytest.mark.usefixtures("ros")
def test_an_inactive_camera_shows_nothing_and_a_cleaned_up_one_can_be_given_another_source(
    video: str,
) -> None:
    rig = Rig(device="opencv", source=video)
    try:
        rig.until(lambda: rig.images)
        rig.node.trigger_deactivate()
        shown = len(rig.images)
        rig.until(
            lambda: (
                rig.diagnostics and rig.diagnostics[-1].status[0].message == "not active"
            )
        )
        assert len(rig.images) <= shown + 1  # one may have been on its way
        rig.node.trigger_cleanup()
        (refused,) = rig.node.set_parameters([Parameter("rate", value=0.0)])
        assert not refused.successful
        rig.node.set_parameters([Parameter("source", value="nowhere.avi")])
        with pytest.raises(PtrError, match=r"nowhere\.avi"):
            rig.node.start()
        rig.node.set_parameters([Parameter("source", value=video)])
        rig.node.start()
        rig.until(lambda: len(rig.images) > shown + 2)
    finally:
        rig.close()
