"""Off-screen rendering of a MuJoCo model, through EGL or OSMesa."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib
import os
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.action_space import pose
from ptr_common.errors import PtrError
from widowx_bringup.camera.view import CameraView, intrinsic_matrix

if TYPE_CHECKING:
    # Importing mujoco fails where MUJOCO_GL is wrong; `choose_backend` names the problem first.
    import mujoco

BACKENDS = {"egl": "libegl1 and libegl-mesa0", "osmesa": "libosmesa6"}
"""Debian and Ubuntu packages by the value of MUJOCO_GL that needs them."""


class RenderingError(PtrError):
    """Off-screen rendering does not work on this machine."""


def choose_backend() -> str:
    """Return `egl` or `osmesa`.

    The variable MUJOCO_GL decides. If it is not set, EGL is used where it has a device, and
    OSMesa otherwise.

    Raises:
        RenderingError: If MUJOCO_GL has another value, or neither library is usable.
    """
    if wanted := os.environ.get("MUJOCO_GL", "").lower():
        if wanted not in BACKENDS:
            raise RenderingError(
                f"MUJOCO_GL is {wanted!r}; off-screen rendering needs one of {sorted(BACKENDS)}"
            )
        return wanted
    if _egl_devices() > 0:
        return "egl"
    if ctypes.util.find_library("OSMesa"):
        return "osmesa"
    packages = " or ".join(BACKENDS.values())
    raise RenderingError(
        f"no library for off-screen rendering works here; with apt-get, install {packages}"
    )


def _egl_devices() -> int:
    """Return the number of EGL devices, software included; libEGL without a driver has none."""
    library = ctypes.util.find_library("EGL")
    if library is None:
        return 0
    egl = ctypes.CDLL(library)
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return 0
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
    )
    query_devices = prototype(address)
    count = ctypes.c_int(0)
    return count.value if query_devices(0, None, ctypes.byref(count)) else 0


def camera_view(
    model: mujoco.MjModel, data: mujoco.MjData, name: str, height: int, width: int
) -> CameraView:
    """Return how a camera of a model sees: its intrinsics for an image size, and its pose.

    Args:
        model: Its world frame is the base frame.
        data: State of the model, with the positions of its bodies.
        name: Name of the camera.
        height: Image height [pixels].
        width: Image width [pixels].
    """
    camera = data.camera(name)
    focal_length = height / 2 / np.tan(np.deg2rad(model.camera(name).fovy[0]) / 2)
    # OpenGL's camera looks along its -z, with y up.
    R = camera.xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    middle = (width - 1) / 2, (height - 1) / 2
    K = intrinsic_matrix(focal_length, focal_length, *middle)
    return CameraView(K, pose(R, camera.xpos.copy()))


class Renderer:
    """Renders one model at one size. Only the thread that made it may use it.

    Shadows, reflections, sky and multisampling stay off: without a graphics card they cost
    thirty times the rest. MuJoCo's own renderer is not used because it fixes the backend
    when mujoco is first imported.

    Args:
        model: Its `visual/quality` decides over multisampling.
        height: Image height [pixels], at most the model's `offheight`.
        width: Image width [pixels], at most the model's `offwidth`.

    Raises:
        RenderingError: If the size is too large or the backend does not work.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        import mujoco

        limit = model.vis.global_
        if not (0 < height <= limit.offheight and 0 < width <= limit.offwidth):
            raise RenderingError(
                f"cannot render {width}x{height} pixels; "
                f"the largest image is {limit.offwidth}x{limit.offheight}"
            )

        self._gl, self._context = _make_context(model, height, width)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        # At exit the display may be gone; the end of the process frees everything.
        self._free.atexit = False

        self._model = model
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._options = mujoco.MjvOption()
        self._scene = mujoco.MjvScene(model, maxgeom=500)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0

    def render(self, data: mujoco.MjData, camera: int) -> np.ndarray:
        """Return the image of one camera.

        Args:
            data: State of the model.
            camera: Number of the camera in the model.

        Returns:
            Shape (height, width, 3), uint8 RGB.
        """
        import mujoco

        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = camera
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            self._model, data, self._options, None, view, everything, self._scene
        )

        self._gl.make_current()
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        image = np.empty((self._rectangle.height, self._rectangle.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, self._rectangle, self._context)
        return np.ascontiguousarray(image[::-1])  # OpenGL counts rows from below

    def close(self) -> None:
        """Free the resources of the graphics library."""
        self._free()


def _make_context(
    model: mujoco.MjModel, height: int, width: int
) -> tuple[Any, mujoco.MjrContext]:
    """Return an OpenGL context, which is current now, and MuJoCo's context for the model.

    Raises:
        RenderingError: If the backend does not work.
    """
    import mujoco

    backend = choose_backend()
    try:
        gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        gl.make_current()
        font = mujoco.mjtFontScale.mjFONTSCALE_100.value
        with _buffer_of(model, height, width):
            return gl, mujoco.MjrContext(model, font)
    except Exception as error:  # each backend and driver raises its own kind
        raise RenderingError(
            f"off-screen rendering with MUJOCO_GL={backend} does not work ({error}); install "
            f"{BACKENDS[backend]}, or set MUJOCO_GL to another of {sorted(BACKENDS)}"
        ) from error


@contextlib.contextmanager
def _buffer_of(model: mujoco.MjModel, height: int, width: int) -> Iterator[None]:
    """Let a context made meanwhile have a buffer of this size instead of the largest one.

    A software renderer clears and stores the whole buffer for every image.
    """
    size = model.vis.global_
    largest = size.offheight, size.offwidth
    size.offheight, size.offwidth = height, width
    try:
        yield
    finally:
        size.offheight, size.offwidth = largest


def _free(gl: Any, context: mujoco.MjrContext) -> None:
    gl.make_current()
    context.free()
    gl.free()
