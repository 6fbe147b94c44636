"""Environment of a graph's processes: parameter files, Fast DDS profile, discovery."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .spec import BRINGUP, GraphError

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""Variable that names the Fast DDS profile."""

DISCOVERY_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
"""Variable that says how far a node looks for others; Humble does not know it."""

STATIC_PEERS = "ROS_STATIC_PEERS"
"""Variable that names other computers to look on, beyond that range."""

LOCALHOST_ONLY = "ROS_LOCALHOST_ONLY"
"""Variable of Humble for a node that stays on its computer; newer ones still honour it."""


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


def profile_file(localhost: bool = False) -> Path:
    """Return the Fast DDS profile that the nodes get where the shell names none of its own.

    Args:
        localhost: Whether the nodes must not leave this computer.
    """
    return config_folder() / ("fastdds_localhost.xml" if localhost else "fastdds.xml")


def discovery_range(variables: Mapping[str, str], humble: bool) -> str:
    """Return how far nodes look for others: SUBNET, LOCALHOST, OFF or SYSTEM_DEFAULT.

    Args:
        variables: All variables of the nodes.
        humble: Whether the distribution is Humble.
    """
    if variables.get(LOCALHOST_ONLY) == "1":
        return "LOCALHOST"
    if humble:
        return "SUBNET"
    return variables.get(DISCOVERY_RANGE) or "SUBNET"


def stays_here(variables: Mapping[str, str], humble: bool) -> bool:
    """Return whether nodes must not leave this computer.

    Args:
        variables: All variables of the nodes.
        humble: Whether the distribution is Humble.
    """
    if variables.get(LOCALHOST_ONLY) == "1":  # static peers count no longer
        return True
    reach = discovery_range(variables, humble)
    wide = reach in ("SUBNET", "OFF", "SYSTEM_DEFAULT")  # ROS takes others for LOCALHOST
    return not wide and not variables.get(STATIC_PEERS)


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that every process of a graph gets on top of the inherited ones.

    Args:
        values: The graph's arguments; without `use_sim`, the arm is simulated.
    """
    variables = {}
    if values.get("use_sim", "true") == "true":
        # A simulated arm must not reach a real one on another computer.
        if is_humble():
            variables[LOCALHOST_ONLY] = "1"
        else:
            variables[DISCOVERY_RANGE] = "LOCALHOST"
            variables[STATIC_PEERS] = ""
        # Threads of the software renderer make it slower.
        variables["LP_NUM_THREADS"] = "0"
    localhost = stays_here({**os.environ, **variables}, is_humble())
    variables[PROFILE] = _foreign_profile() or str(profile_file(localhost))
    return variables


def is_own_profile(file: Path) -> bool:
    """Return whether a Fast DDS profile is one of ours, or a copy of it."""
    own = [profile_file(localhost).read_bytes() for localhost in (False, True)]
    return file.is_file() and file.read_bytes() in own


def _foreign_profile() -> str:
    """Return the profile of the shell that is none of ours; empty if there is none."""
    named = os.environ.get(PROFILE, "")
    return "" if named and is_own_profile(Path(named)) else named


def is_humble() -> bool:
    """Return whether the sourced distribution is Humble."""
    return os.environ.get("ROS_DISTRO") == "humble"
