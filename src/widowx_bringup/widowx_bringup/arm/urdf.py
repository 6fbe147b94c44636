"""The URDF of the arm, from Interbotix's `interbotix_xsarm_descriptions` if it is installed.

This repository keeps no URDF.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ptr_common.errors import PtrError

DESCRIPTIONS = "interbotix_xsarm_descriptions"
"""Package with the URDF."""

PUBLISHER = "robot_state_publisher"
"""Package and executable that publishes the URDF and the transforms of its links."""

XACRO_FILE = f"share/{DESCRIPTIONS}/urdf/wx250s.urdf.xacro"
"""The URDF's source below the prefix of an installation."""


def missing() -> list[str]:
    """Return the packages that are needed to show the arm and are not installed here."""
    files = {
        DESCRIPTIONS: _installed(XACRO_FILE),
        PUBLISHER: _installed(f"lib/{PUBLISHER}/{PUBLISHER}"),
        "xacro": shutil.which("xacro"),
    }
    return [package for package, file in files.items() if file is None]


def robot_description(robot_name: str) -> str:
    """Return the URDF of the wx250s.

    Links have the prefix `<robot_name>/`; joints have the names of `JOINT_NAMES`. The
    arguments are those of Interbotix's launch file, so RViz shows the simulated arm as the
    real one.

    Raises:
        PtrError: If the package is not installed or xacro refuses its file.
    """
    source = _installed(XACRO_FILE)
    if source is None:
        raise PtrError(f"{DESCRIPTIONS} is not installed here; see docs/robot.md")
    command = [
        "xacro",
        str(source),
        f"robot_name:={robot_name}",
        "base_link_frame:=base_link",
        "use_world_frame:=true",
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        details = getattr(error, "stderr", "")
        raise PtrError(f"{' '.join(command)}: {error}\n{details}") from error
    return result.stdout


def _installed(path: str) -> Path | None:
    """Return a file of an installed package.

    Args:
        path: Path of the file below the prefix of the installation.
    """
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        file = Path(prefix, path)
        if prefix and file.is_file():
            return file
    return None
