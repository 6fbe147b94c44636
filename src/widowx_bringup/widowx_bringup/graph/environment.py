"""Environment of a graph's processes: parameter files, Fast DDS profile, discovery."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .spec import BRINGUP, GraphError

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""Variable that names the Fast DDS profile."""


def config_folder() -> Path:
    """Return the folder of the parameter files: the installed one, or that of the source tree.

    Raises:
        GraphError: If neither folder exists.
    """
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        installed = Path(prefix) / "share" / BRINGUP / "config"
        if prefix and installed.is_dir():
            return installed
    source = Path(__file__).resolve().parents[4] / "config"
    if not source.is_dir():
        raise GraphError(
            f"no folder config/ in {source.parent}, nor share/{BRINGUP}/config in a folder "
            "of AMENT_PREFIX_PATH; source the workspace's install/setup.bash"
        )
    return source


def profile_file() -> Path:
    """Return the Fast DDS profile that the nodes get where the shell names none."""
    return config_folder() / ("fastdds_humble.xml" if _is_humble() else "fastdds.xml")


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that every process of a graph gets on top of the inherited ones.

    Args:
        values: The graph's arguments; without `use_sim`, the arm is simulated.
    """
    variables = {PROFILE: os.environ.get(PROFILE, str(profile_file()))}
    if values.get("use_sim", "true") == "true":
        # A simulated arm must not reach a real one on another computer.
        if _is_humble():
            variables["ROS_LOCALHOST_ONLY"] = "1"
        else:
            variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        # Threads of the software renderer make it slower.
        variables["LP_NUM_THREADS"] = "0"
    return variables


def _is_humble() -> bool:
    return os.environ.get("ROS_DISTRO") == "humble"
