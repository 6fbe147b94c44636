"""Checks of `ptr doctor` for what is installed: ROS, its messages, drivers of arm and cameras.

Run as a module, it prints what one interpreter knows of ROS, as JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ptr_common.process.separate import run_separately
from widowx_bringup.graph.processes import describe_status

from .results import SETUP, CheckResult, missing

TRIED = ("humble", "jazzy")
"""Distributions that this system was tried with."""

FOREIGN_REMEDY = (
    "open a shell that sources nothing of /opt/ros (see ~/.bashrc), or use the workspace "
    "built on that ROS (CONTRIBUTING.md, With an installed ROS 2)"
)

FAST_DDS_REMEDY = (
    "unset RMW_IMPLEMENTATION, or export RMW_IMPLEMENTATION=rmw_fastrtps_cpp, "
    "on every computer of the graph"
)

DRIVER_PACKAGES = ("interbotix_xs_sdk", "interbotix_xsarm_control")
"""Packages that move the arm. `make setup` brings a copy of interbotix_xs_msgs, for tests."""

CAMERA_PACKAGES = ("usb_cam", "v4l2_camera", "realsense2_camera")

IMPORT_TIMEOUT = 20.0
"""Longest time in which ROS is imported [s]."""

LOG_NOISE = re.compile(r"^\[ERROR\] \[[\d.]+\] \[\w+\]: |, at /.*")
"""What ROS puts around the text of an error."""


@dataclass(frozen=True)
class Installation:
    """What a fresh interpreter knows of ROS.

    Attributes:
        rclpy: File of the module.
        distribution: Name of the distribution; empty if unknown.
        middleware: Name of the middleware.
        messages: Why `ptr_msgs` does not load; empty if it does.
        error: Why ROS does not start; empty if it does.
    """

    rclpy: str = ""
    distribution: str = ""
    middleware: str = ""
    messages: str = ""
    error: str = ""


def read_installation() -> Installation:
    """Ask a separate process: libraries of two distributions may crash an interpreter."""
    try:
        done = run_separately(__name__, IMPORT_TIMEOUT)
    except subprocess.TimeoutExpired:
        return Installation(error=f"no answer within {IMPORT_TIMEOUT:g} s")

    if done.returncode == 0:
        return Installation(**json.loads(done.stdout.splitlines()[-1]))
    lines = done.stderr.strip().splitlines()
    error = lines[-1] if lines else describe_status(done.returncode)
    return Installation(error=LOG_NOISE.sub("", error))


def check_distribution(
    ros: Installation, environment: Mapping[str, str], prefix: str = sys.prefix
) -> CheckResult:
    """Check which distribution is in use, and that the shell has not sourced another one.

    Args:
        ros: What a fresh interpreter knows.
        environment: Variables of this shell.
        prefix: Folder of the Python installation.
    """
    foreign = _foreign_entries(environment)
    if ros.error:
        remedy = FOREIGN_REMEDY if foreign else SETUP
        if "RMW" in ros.error:
            remedy = FAST_DDS_REMEDY
        return CheckResult("fail", f"rclpy does not start: {ros.error}", remedy)

    from_wheels = Path(ros.rclpy).is_relative_to(prefix)
    origin = "wheels" if from_wheels else "installed"
    found = f"{ros.distribution or 'unknown'}, {origin}: {Path(ros.rclpy).parent}"
    sourced = environment.get("ROS_DISTRO", "")
    if sourced and ros.distribution and sourced != ros.distribution:
        found += f"; but ROS_DISTRO={sourced} is sourced in this shell"
        return CheckResult("fail", found, FOREIGN_REMEDY)

    if from_wheels and foreign:
        found += f"; but {foreign[0]} comes before it in this shell"
        return CheckResult("fail", found, FOREIGN_REMEDY)

    if ros.distribution not in TRIED:
        return CheckResult(
            "warn",
            found,
            f"tried with {' and '.join(TRIED)} only; if something fails, use one of them",
        )

    return CheckResult("ok", found)


def _foreign_entries(environment: Mapping[str, str]) -> list[str]:
    """Return the search path entries that belong to a ROS below /opt/ros."""
    entries = []
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH"):
        entries += environment.get(name, "").split(os.pathsep)
    return [entry for entry in entries if entry.startswith("/opt/ros/")]


def ros_prefixes() -> list[Path]:
    """Return the folders in which ROS looks for packages."""
    entries = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return [Path(entry) for entry in dict.fromkeys(entries) if entry]


def find_package(name: str, prefixes: Iterable[Path]) -> Path | None:
    """Return the prefix in which a ROS package is installed; None where it is not.

    Args:
        name: Name of the package.
        prefixes: Folders to look in, the first one first.
    """
    index = Path("share/ament_index/resource_index/packages", name)
    for prefix in prefixes:
        if (prefix / index).exists():
            return prefix

    return None


def check_messages(
    ros: Installation, source: Path, prefixes: Iterable[Path]
) -> CheckResult:
    """Check that the installed messages load and are those of the source tree.

    Args:
        ros: What a fresh interpreter knows.
        source: Folder of the package ptr_msgs in the source tree; it need not exist.
        prefixes: Folders to look in.
    """
    prefix = find_package("ptr_msgs", prefixes)
    if ros.messages or prefix is None:
        return CheckResult(
            "fail",
            f"ptr_msgs does not load: {ros.messages or 'not installed'}",
            SETUP,
        )

    files = sorted([*source.glob("msg/*.msg"), *source.glob("srv/*.srv")])
    if not files:
        return CheckResult("ok", "ptr_msgs; no source tree to compare with")
    for file in files:
        installed = prefix / "share/ptr_msgs" / file.relative_to(source)
        if not installed.is_file() or installed.read_bytes() != file.read_bytes():
            return CheckResult(
                "fail",
                f"the installed {file.name} differs from that of {source}",
                "run `make setup` (on a robot PC: colcon build), and restart every node",
            )

    return CheckResult("ok", f"ptr_msgs, the {len(files)} definitions of the source tree")


def check_interbotix(prefixes: Iterable[Path], robot: bool) -> CheckResult:
    """Check that the driver of the real arm is installed.

    Args:
        prefixes: Folders to look in.
        robot: Whether a missing driver is a failure.
    """
    prefixes = list(prefixes)
    absent = [name for name in DRIVER_PACKAGES if find_package(name, prefixes) is None]
    if absent:
        return missing(
            f"not installed: {', '.join(absent)}",
            "install Interbotix's X-series packages with the vendor's installer and "
            "source their workspace (docs/robot.md)",
            robot,
        )

    opened = "the driver's topics (no interbotix_xs_modules)"
    if find_package("interbotix_xs_modules", prefixes):
        opened = "InterbotixManipulatorXS"
    folder = find_package(DRIVER_PACKAGES[0], prefixes)
    return CheckResult("ok", f"{folder}; the arm is opened through {opened}")


def check_camera_drivers(prefixes: Iterable[Path]) -> CheckResult:
    """List the values of the argument camera_driver that can be used.

    Args:
        prefixes: Folders to look in.
    """
    prefixes = list(prefixes)
    installed = ["opencv (ours)"]
    absent = []
    for name in CAMERA_PACKAGES:
        if find_package(name, prefixes):
            installed.append(name)
        else:
            absent.append(name)

    found = ", ".join(installed)
    if absent:
        found += f"; not installed: {', '.join(absent)}"
    return CheckResult("ok", found)


def main() -> int:
    """Print what this interpreter knows of ROS, as JSON."""
    import rclpy
    from rclpy.utilities import get_rmw_implementation_identifier

    ros = Installation(
        rclpy=rclpy.__file__,
        distribution=_distribution_name(rclpy.__file__),
        middleware=get_rmw_implementation_identifier(),
        messages=_error_of_messages(),
    )
    print(json.dumps(vars(ros)))
    return 0


def _distribution_name(rclpy_file: str) -> str:
    """Return the distribution that a file of rclpy belongs to; empty if nothing says so."""
    from importlib.metadata import distributions

    if match := re.search(r"/opt/ros/(\w+)/", rclpy_file):
        return match[1]
    for package in distributions():
        if match := re.fullmatch(r"ros-(\w+)-rclpy", package.name or ""):
            return match[1]
    return os.environ.get("ROS_DISTRO", "")


def _error_of_messages() -> str:
    """Return why `ptr_msgs` does not load; empty if it does."""
    try:
        import ptr_msgs.msg
        import ptr_msgs.srv

        loaded = ptr_msgs.msg.ArmState() and ptr_msgs.srv.ResetScene
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if loaded else "empty"


if __name__ == "__main__":
    sys.exit(main())
