"""The URDF of the arm from Interbotix's `interbotix_xsarm_descriptions`, where that is installed; none is kept here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ptr_common.errors import PtrError

DESCRIPTIONS, PUBLISHER = "interbotix_xsarm_descriptions", "robot_state_publisher"


def missing() -> list[str]:
    """Return the packages that showing the arm needs and this environment lacks."""
    needed = {
        DESCRIPTIONS: _installed(f"share/{DESCRIPTIONS}/urdf/wx250s.urdf.xacro"),
        PUBLISHER: _installed(f"lib/{PUBLISHER}/{PUBLISHER}"),
        "xacro": shutil.which("xacro"),
    }
    return [package for package, found in needed.items() if found is None]


def robot_description(robot_name: str) -> str:
    """Return the URDF of the wx250s: links are called `<robot_name>/…`, joints as in `spec.JOINT_NAMES`.

    The arguments are those that Interbotix's launch file gives, so that RViz shows the
    simulated arm as the real one.

    Raises:
        PtrError: If the package is not installed or xacro refuses its file.
    """
    source = _installed(f"share/{DESCRIPTIONS}/urdf/wx250s.urdf.xacro")
    if source is None:
        raise PtrError(f"{DESCRIPTIONS} is not installed here; docs/robot.md says how")
    command = [
        "xacro",
        str(source),
        f"robot_name:={robot_name}",
        "base_link_frame:=base_link",
        "use_world_frame:=true",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise PtrError(
            f"{' '.join(command)}: {error}\n{getattr(error, 'stderr', '')}"
        ) from error


def _installed(path: str) -> Path | None:
    """Return a file of an installed package by its path below the prefix."""
    prefixes = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    return next(
        (file for prefix in prefixes if (file := Path(prefix, path)).is_file()), None
    )
