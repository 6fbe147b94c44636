"""The executable `camera_node`: the camera node with every real device and the simulated one.

It is in this room because a camera may not depend on the simulation: the simulation completes
the table of device kinds.
"""

from __future__ import annotations

import sys

from ptr_common.managed_node import run
from widowx_bringup.camera import node as camera

from .rendered_camera import SIMULATOR

DEVICES = {"simulator": SIMULATOR, **camera.DEVICES}
"""Device kinds of the executable; the first is the default of its parameter `device`."""


def main() -> int:
    """Run the camera node."""
    return run(lambda: camera.CameraNode(DEVICES))


if __name__ == "__main__":
    sys.exit(main())
