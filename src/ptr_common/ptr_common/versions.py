"""Versions that decide a result: Python, machine, packages, the project's revision."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "numpy",
    "torch",
    "mujoco",
    "mink",
    "mcap",
    "rosbags",
    "opencv-python-headless",
    "ros-jazzy-rclpy",
)


def versions() -> dict[str, str]:
    """Return the versions that decide a result: Python, machine, packages, the project's revision."""
    found = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["project"] = revision()
    return found


def revision() -> str:
    """Return version and git revision of the project, `+` appended if the tree was changed."""
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        described = "no git"
    return f"{version('ptr_common')} ({described})"
