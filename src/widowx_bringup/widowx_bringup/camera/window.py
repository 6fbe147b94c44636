"""A window with the images of a camera, a process of its own: `ptr teleop --view` opens it.

It only shows: keys that are typed into it move nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from ptr_common import qos
from ptr_common.errors import PtrError
from ptr_common.images import RawImage
from ptr_common.managed_node import parameter, run, subscribe
from ptr_common.topics import image_topic

WIDTH = 960
"""Width of the window at the start [pixels]; a person may change it."""

REDRAW_PERIOD = 0.02
"""Time between two looks at the newest image and at the window [s]."""


def missing_display() -> str:
    """Return why no window can be shown; empty if this process has a display."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return ""
    return "no display (neither DISPLAY nor WAYLAND_DISPLAY is set; ssh -X brings one)"


class CameraWindow(Node):
    """Shows the newest image of one camera; its process ends when the window is closed.

    Args:
        options: Passed on to `rclpy.node.Node`.

    Raises:
        PtrError: If no window can be opened.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("camera_window", **options)
        camera = parameter(self, "camera", "over_shoulder", "camera whose images are shown")
        self._image: np.ndarray | None = None  # newest one that is not drawn yet, RGB
        self._glfw, self._window = _open_window(
            f"{camera}, as {self.get_namespace()} sees it"
        )
        subscribe(self, Image, image_topic(camera), self._on_image, qos.IMAGES)
        self.create_timer(REDRAW_PERIOD, self._redraw)

    def destroy_node(self) -> None:
        """Close the window."""
        if self._window is not None:
            self._glfw.terminate()
            self._window = None
        super().destroy_node()

    def _on_image(self, message: Image) -> None:
        self._image = RawImage.from_message(message).rgb()

    def _redraw(self) -> None:
        self._glfw.poll_events()
        if self._glfw.window_should_close(self._window):
            signal.raise_signal(signal.SIGINT)
            return
        if self._image is not None:
            _draw(self._image, *self._glfw.get_framebuffer_size(self._window))
            self._glfw.swap_buffers(self._window)
            self._image = None


def _open_window(title: str) -> tuple[Any, Any]:
    """Return the library of windows and a new window of it.

    Raises:
        PtrError: If there is no display, or it shows no OpenGL.
    """
    import glfw

    problem = missing_display()
    if not problem and glfw.init():
        window = glfw.create_window(WIDTH, WIDTH * 3 // 4, title, None, None)
        if window:
            glfw.make_context_current(window)
            glfw.swap_interval(0)  # a hidden window must not hold up the node
            return glfw, window
        glfw.terminate()
    raise PtrError(f"no window for the camera's images: {problem or 'it shows no OpenGL'}")


def _draw(image: np.ndarray, width: int, height: int) -> None:
    """Draw an RGB image, (H, W, 3) uint8, as large as the window [pixels] allows."""
    from OpenGL import GL

    scale = min(width / image.shape[1], height / image.shape[0])
    columns, rows = int(image.shape[1] * scale), int(image.shape[0] * scale)
    GL.glClear(GL.GL_COLOR_BUFFER_BIT)
    if not columns or not rows:  # a window without area
        return
    scaled = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    GL.glViewport(0, 0, width, height)
    GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
    GL.glPixelZoom(1, -1)  # the first row of an image is its top
    GL.glRasterPos2f(-columns / width, min(rows / height, 1 - 1e-6))
    GL.glDrawPixels(
        columns, rows, GL.GL_RGB, GL.GL_UNSIGNED_BYTE, np.ascontiguousarray(scaled)
    )


def main() -> int:
    """Run the window."""
    return run(CameraWindow)


if __name__ == "__main__":
    sys.exit(main())
