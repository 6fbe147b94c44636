"""`ptr doctor`: what works on this machine and what to do about what does not."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "torch", "mujoco", "mink", "mcap", "rosbags", "opencv-python-headless", "ros-jazzy-rclpy")
MINIMUM_FREE = 5e9  # [bytes]; a demo's rollouts and prior data take about a third of it


def versions() -> dict[str, str]:
    """Return the versions that decide a result: Python, machine, packages, the project's revision."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
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
            ["git", "-C", str(here), "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        described = "no git"
    return f"{version('widowx_bringup')} ({described})"


def _python() -> str:
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise RuntimeError(f"Python {platform.python_version()}; the ROS 2 wheels exist for 3.10 to 3.13")
    return platform.python_version()


def _ros() -> str:
    rclpy = importlib.import_module("rclpy")
    importlib.import_module("ptr_msgs.msg")
    rclpy.init()
    try:
        rclpy.create_node("ptr_doctor").destroy_node()
        middleware = importlib.import_module("rclpy.utilities").get_rmw_implementation_identifier()
    finally:
        rclpy.shutdown()
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    return f"a node starts on {middleware}, discovery {reach}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}"


def _rendering() -> str:
    simulator = importlib.import_module("widowx_bringup.simulator")
    world = simulator.World()
    image = world.render("over_shoulder", 64, 64)
    if image.std() == 0:
        raise RuntimeError("the simulator's camera returned an empty picture")
    return f"MuJoCo draws through {os.environ.get('MUJOCO_GL', 'its default')}"


def _learning() -> str:
    torch = importlib.import_module("torch")
    device = "a CUDA device" if torch.cuda.is_available() else "the CPU only"
    return f"torch {torch.__version__} with {device}, {os.cpu_count()} cores"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    if free < MINIMUM_FREE:
        raise RuntimeError(f"{free / 1e9:.1f} GB free here, {MINIMUM_FREE / 1e9:.0f} GB wanted for a demo")
    return f"{free / 1e9:.0f} GB free here"


CHECKS: dict[str, tuple[Callable[[], str], str]] = {
    "python": (_python, "use another interpreter: make PYTHON=python3.12"),
    "ROS 2": (_ros, "run `make setup`, or source the workspace's install/setup.bash on a robot PC"),
    "rendering": (_rendering, "install the system packages libegl1 and libgl1, or libosmesa6"),
    "learning": (_learning, "run `make setup`"),
    "disk": (_disk, "free some space, or give --out on another disk"),
}


def main(argv: list[str]) -> int:
    """Say what works on this machine: Python, ROS 2, rendering, learning, disk."""
    argparse.ArgumentParser(prog="ptr doctor", description=main.__doc__).parse_args(argv)
    failed = 0
    for name, (check, remedy) in CHECKS.items():
        try:
            print(f"  ok    {name:<10} {check()}")
        except Exception as error:  # whatever is broken is what we are here to report
            failed += 1
            print(f"  FAIL  {name:<10} {error}\n        {'':<10} remedy: {remedy}")
    print("\n".join(f"        {name:<24} {found}" for name, found in versions().items()))
    return 1 if failed else 0
