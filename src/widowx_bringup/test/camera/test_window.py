"""The window of `ptr teleop --view`: it shows a camera's images, and says where it cannot."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from probe_rig import ProbeRig  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.images import fill_message  # noqa: E402
from ptr_common.topics import image_topic  # noqa: E402
from widowx_bringup.camera.window import CameraWindow, missing_display  # noqa: E402


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A screen that nobody sees."""
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write)], pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as numbers:
        name = f":{numbers.readline().strip()}"
    monkeypatch.setenv("DISPLAY", name)
    yield name
    server.terminate()
    server.wait()


class WindowRig(ProbeRig):
    def __init__(self) -> None:
        self.node = CameraWindow()
        self.probe = rclpy.create_node("probe")
        topic = image_topic("over_shoulder")
        self.images = self.probe.create_publisher(Image, topic, qos.IMAGES)
        self.add_nodes()


def seen() -> np.ndarray:
    """Return the pixels of the window, (H, W, 3), its first row at the top."""
    import glfw
    from OpenGL import GL

    width, height = glfw.get_framebuffer_size(glfw.get_current_context())
    GL.glReadBuffer(GL.GL_BACK)  # Mesa keeps what was shown last
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
    data = GL.glReadPixels(0, 0, width, height, GL.GL_RGB, GL.GL_UNSIGNED_BYTE)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)[::-1]


def test_an_image_is_shown_upright(ros: None, display: str) -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    image[:15] = (255, 0, 0)
    image[15:] = (0, 0, 255)
    message = Image()
    fill_message(message, image)
    with contextlib.closing(WindowRig()) as rig:
        rig.until(rig.images.get_subscription_count)

        def shown() -> bool:
            rig.images.publish(message)
            pixels = seen()
            colours = [pixels[5, 480].tolist(), pixels[-6, 480].tolist()]
            return colours == [[255, 0, 0], [0, 0, 255]]

        rig.until(shown)


def test_without_a_display_the_window_says_so(
    ros: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert missing_display().startswith("no display")
    with pytest.raises(PtrError, match=r"no window .*: no display \(neither DISPLAY nor"):
        CameraWindow()
