"""Off-screen pictures of a MuJoCo model, through whichever of EGL and OSMesa the machine has."""

from __future__ import annotations

import ctypes.util
import importlib
import os
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.errors import PtrError

if (
    TYPE_CHECKING
):  # importing mujoco fails when MUJOCO_GL is wrong, before that can be told in our words
    import mujoco

BACKENDS = {"egl": "libegl1 and libegl-mesa0", "osmesa": "libosmesa6"}
"""Value of MUJOCO_GL -> Debian and Ubuntu packages that have it."""


class RenderingError(PtrError):
    """No picture can be drawn on this machine."""


def choose_backend() -> str:
    """Return `egl` or `osmesa`: what MUJOCO_GL says, else EGL where it has a device, else OSMesa.

    Raises:
        RenderingError: If MUJOCO_GL says something else, or neither library is usable.
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
    """Count what EGL can draw with, software included; libEGL alone, without a driver, has none."""
    library = ctypes.util.find_library("EGL")
    if library is None:
        return 0
    egl = ctypes.CDLL(library)
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return 0
    count = ctypes.c_int(0)
    query = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
    )(address)
    return count.value if query(0, None, ctypes.byref(count)) else 0


class Renderer:
    """Draws one model at one size. To be used in the thread that made it.

    Shadows, reflections, sky and multisampling stay off: they cost thirty times the rest
    where there is no graphics card. MuJoCo's own renderer is not used because it fixes the
    backend when mujoco is first imported.

    Args:
        model: Its `visual/quality` decides over multisampling.
        height: In pixels, at most the model's `offheight`.
        width: In pixels, at most the model's `offwidth`.

    Raises:
        RenderingError: If the size is too large or the backend does not work.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        import mujoco

        limit = model.vis.global_
        if not (0 < height <= limit.offheight and 0 < width <= limit.offwidth):
            raise RenderingError(
                f"cannot draw {width}x{height} pixels; the largest picture is {limit.offwidth}x{limit.offheight}"
            )
        backend = choose_backend()
        try:
            self._gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
            self._gl.make_current()
            self._context = mujoco.MjrContext(
                model, mujoco.mjtFontScale.mjFONTSCALE_100.value
            )
        except Exception as error:  # each backend and driver raises its own kind
            raise RenderingError(
                f"off-screen rendering with MUJOCO_GL={backend} does not work ({error}); install "
                f"{BACKENDS[backend]}, or set MUJOCO_GL to another of {sorted(BACKENDS)}"
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        self._free.atexit = (
            False  # the display may be gone by then; the end of the process frees it all
        )
        self._model = model
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._options = mujoco.MjvOption()
        self._scene = mujoco.MjvScene(model, maxgeom=500)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0

    def draw(self, data: mujoco.MjData, camera: int) -> np.ndarray:
        """Return what the model's camera number `camera` sees, shape (height, width, 3) uint8 RGB."""
        import mujoco

        eye = mujoco.MjvCamera()
        eye.type, eye.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            self._model, data, self._options, None, eye, everything, self._scene
        )
        self._gl.make_current()
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        image = np.empty((self._rectangle.height, self._rectangle.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, self._rectangle, self._context)
        return np.ascontiguousarray(image[::-1])  # OpenGL counts rows from below

    def close(self) -> None:
        """Free what the graphics library holds."""
        self._free()


def _free(gl: Any, context: mujoco.MjrContext) -> None:
    gl.make_current()
    context.free()
    gl.free()
