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

NOT_INSTALLED = "not installed"


def versions() -> dict[str, str]:
    """Return the versions that decide a result, by the name of the part."""
    by_name = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for package in PACKAGES:
        by_name[package] = _version(package)
    by_name["project"] = revision()
    return by_name


def revision() -> str:
    """Return version and git revision of the project; `+` marks a changed working tree."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
        )
        commit = done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "no git"
    return f"{_version('ptr_common')} ({commit})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED
