"""`ptr doctor`: what works on this computer and what to do about what does not."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ptr_common.errors import PtrError
from ptr_common.text_table import text_table
from ptr_common.versions import versions
from widowx_bringup.benchmark.assets import assets_folder
from widowx_bringup.benchmark.driver import missing_modules
from widowx_bringup.camera.protocol import CameraFeatures
from widowx_bringup.graph.environment import environment, profile_file

from . import (
    benchmark,
    cameras,
    computer,
    images,
    installation,
    network,
    ros_variables,
    serial_port,
)
from .image_transport import ImageStream
from .installation import Installation, ros_prefixes
from .results import Check, CheckResult, count, print_results, run_checks, save

SOURCE = Path(__file__).resolve().parents[3]
"""Folder of our packages in the source tree."""

CAMERA = CameraFeatures("doctor", 640, 480, 30.0)
"""What a camera is asked for: the defaults of the launch arguments."""

STREAM = ImageStream(CAMERA.width, CAMERA.height, CAMERA.rate, seconds=3.0)
"""Images that are sent from process to process."""

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)


def checks(options: argparse.Namespace) -> Iterator[Check]:
    """Yield all checks, in the order of the table.

    Args:
        options: See `_parser`.
    """
    offset_before = computer.clock_offset()
    yield Check("software", "Python", check_python)
    ros = installation.read_installation()
    yield from _software(ros, options.robot)
    yield from _graph(ros, options.robot)
    yield from _cameras(options.snapshots, options.robot)
    yield from _arm(options.robot)
    yield from _computer(options.bags, options.robot, offset_before)
    yield from _benchmark()


def _software(ros: Installation, robot: bool) -> Iterator[Check]:
    group = "software"
    yield Check(group, "ROS 2", lambda: installation.check_distribution(ros, os.environ))
    if not ros.error:
        source = SOURCE / "ptr_msgs"
        yield Check(
            group,
            "messages",
            lambda: installation.check_messages(ros, source, ros_prefixes()),
        )

    yield Check(group, "rendering", lambda: computer.check_rendering(robot))


def _graph(ros: Installation, robot: bool) -> Iterator[Check]:
    group = "ROS graph"
    if not ros.error:
        yield Check(group, "middleware", lambda: network.check_middleware(ros))
    yield Check(group, "profile", lambda: network.check_profile(os.environ, profile_file()))
    yield Check(
        group,
        "discovery",
        lambda: network.check_discovery(os.environ, ros.distribution, robot),
    )
    shell = ros_variables.Shell(os.environ, ros, Path.cwd())
    yield Check(group, "variables", lambda: ros_variables.check_variables(shell))
    for name, result in ros_variables.contradictions(shell):
        yield Check(group, name, partial(_found_already, result))
    if robot:
        yield Check(
            group,
            "second computer",
            lambda: network.check_second_computer(os.environ, ros.distribution),
        )
    yield Check(group, "shared memory", images.check_shared_memory)
    if not ros.error:
        variables = {**os.environ, **environment({"use_sim": str(not robot).lower()})}
        yield Check(group, "images", lambda: images.check_images(variables, STREAM))


def _found_already(result: CheckResult) -> CheckResult:
    return result


def _cameras(snapshots: Path, robot: bool) -> Iterator[Check]:
    group = "cameras"
    yield Check(group, "drivers", lambda: installation.check_camera_drivers(ros_prefixes()))
    devices = cameras.find_cameras()
    for device in devices:
        check = partial(cameras.check_camera, device, snapshots, robot, CAMERA)
        yield Check(group, device.name, check)
    if not devices:
        yield Check(group, "camera", lambda: cameras.no_camera_found(robot))


def _arm(robot: bool) -> Iterator[Check]:
    group = "arm"
    yield Check(
        group, "Interbotix", lambda: installation.check_interbotix(ros_prefixes(), robot)
    )
    yield Check(group, "serial port", lambda: serial_port.check_serial_port(robot))
    yield Check(group, "udev rule", lambda: serial_port.check_udev_rule(robot))
    yield Check(group, "latency timer", lambda: serial_port.check_latency_timer(robot))
    yield Check(group, "interference", serial_port.check_interference)


def _computer(bags: Path, robot: bool, offset_before: float) -> Iterator[Check]:
    group = "computer"
    yield Check(group, "disk", lambda: computer.check_disk(bags, robot))
    yield Check(
        group,
        "processor",
        lambda: computer.check_processor(os.getloadavg()[0], os.cpu_count() or 1),
    )
    yield Check(group, "GPU", lambda: computer.check_gpu(importlib.import_module("torch")))
    yield Check(
        group, "clock", lambda: computer.check_clock(offset_before, computer.clock_state())
    )


def _benchmark() -> Iterator[Check]:
    group = "benchmark"
    absent = missing_modules()
    folder = assets_folder(None)
    yield Check(group, "simulator", lambda: benchmark.check_simulator(absent))
    yield Check(
        group, "assets", lambda: benchmark.check_assets_of_tasks(folder, not absent)
    )


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> CheckResult:
    """Check that the ROS wheels exist for the interpreter.

    Args:
        version: Major and minor version.
    """
    found = f"{platform.python_version()}: {sys.executable}"
    if OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        return CheckResult("ok", found)
    return CheckResult(
        "fail",
        found,
        "the ROS 2 wheels exist for 3.10 to 3.13: make clean, make setup PYTHON=python3.12",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptr doctor",
        description=f"{main.__doc__} Exit status 0 if nothing failed.",
        epilog="Levels: ok; none (absent, and not needed); warn; fail.",
    )
    parser.add_argument(
        "--robot",
        action="store_true",
        help="demand what the real arm needs (default: what the simulation needs)",
    )
    parser.add_argument(
        "--bags",
        type=Path,
        default=Path("bags"),
        help="folder that will receive bags (default: %(default)s)",
    )
    parser.add_argument(
        "--snapshots",
        type=Path,
        default=Path("runs/doctor"),
        help="folder that receives one image of each camera (default: %(default)s)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="file that receives the results for other programs (default: none)",
    )
    return parser


def _refuse_wrong_paths(options: argparse.Namespace) -> None:
    """Refuse paths that cannot be used, before the first check runs.

    Raises:
        PtrError: If a folder is a file or the file is a folder.
    """
    for name in ("bags", "snapshots"):
        folder = getattr(options, name)
        if folder.exists() and not folder.is_dir():
            raise PtrError(f"--{name} {folder} is not a folder; choose another path")

    if options.json and options.json.is_dir():
        raise PtrError(f"--json {options.json} is a folder; name a file in it")


def main(argv: list[str]) -> int:
    """Check what works on this computer, and say what to do about the rest."""
    options = _parser().parse_args(argv)
    _refuse_wrong_paths(options)
    started = time.monotonic()
    lines = print_results(run_checks(checks(options)))
    known_versions = versions()
    rows = [(f"        {name}", version) for name, version in known_versions.items()]
    print(text_table(("versions", ""), rows, align="ll"))
    levels = count(lines)
    summary = ", ".join(f"{number} {level}" for level, number in levels.items())
    print(f"{summary} in {time.monotonic() - started:.0f} s")
    if levels["none"] and not options.robot:
        print(
            "none: absent, and not needed; `ptr doctor --robot` demands what the real robot "
            "needs, and says how to get it"
        )

    if options.json:
        save(
            lines,
            options.json,
            robot=options.robot,
            levels=levels,
            versions=known_versions,
        )
        print(f"written: {options.json}")

    return 1 if levels["fail"] else 0
