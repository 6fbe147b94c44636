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

from ptr_common.versions import versions
from widowx_bringup.camera.protocol import CameraFeatures
from widowx_bringup.graph import graphs as graph

from . import computer as doctor_computer
from . import devices as doctor_devices
from . import ros as doctor_ros
from .image_transport import Pictures
from .results import Check, CheckResult, count, examine, save, tell

SOURCE = Path(__file__).resolve().parents[3]
"""Where our packages lie beside each other in the source tree."""

WANTED = CameraFeatures("doctor", 640, 480, 30.0)
"""What a camera is asked for: the defaults of the launch arguments."""

SENT = Pictures(WANTED.width, WANTED.height, WANTED.rate, seconds=3.0)
"""What crosses from process to process."""


def checks(options: argparse.Namespace) -> Iterator[Check]:
    """Yield what is to be looked at, in the order of the table.

    Args:
        options: See `_parser`.
    """
    before = doctor_computer.offset()
    yield Check("software", "Python", python)
    ros = doctor_ros.installation()
    yield from _software(ros, options.robot)
    yield from _graph(ros, options.robot)
    yield from _cameras(options.snapshots, options.robot)
    yield from _arm(options.robot)
    yield from _computer(options.bags, options.robot, before)


def _software(ros: doctor_ros.Installation, robot: bool) -> Iterator[Check]:
    yield Check("software", "ROS 2", lambda: doctor_ros.distribution(ros, os.environ))
    if not ros.error:
        yield Check(
            "software",
            "messages",
            lambda: doctor_ros.messages(ros, SOURCE / "ptr_msgs", doctor_ros.prefixes()),
        )
    yield Check("software", "rendering", lambda: doctor_computer.rendering(robot))


def _graph(ros: doctor_ros.Installation, robot: bool) -> Iterator[Check]:
    if not ros.error:
        yield Check("ROS graph", "middleware", lambda: doctor_ros.middleware(ros))
    yield Check(
        "ROS graph", "profile", lambda: doctor_ros.profile(os.environ, graph.profile_file())
    )
    yield Check(
        "ROS graph",
        "discovery",
        lambda: doctor_ros.discovery(os.environ, ros.distribution, robot),
    )
    yield Check("ROS graph", "shared memory", doctor_ros.shared_memory)
    if not ros.error:
        values = {"use_sim": str(not robot).lower()}
        yield Check(
            "ROS graph",
            "images",
            lambda: doctor_ros.images({**os.environ, **graph.environment(values)}, SENT),
        )


def _cameras(snapshots: Path, robot: bool) -> Iterator[Check]:
    yield Check(
        "cameras", "drivers", lambda: doctor_ros.camera_drivers(doctor_ros.prefixes())
    )
    cameras = doctor_devices.find_cameras()
    for device in cameras:
        yield Check(
            "cameras",
            device.name,
            partial(doctor_devices.camera, device, snapshots, robot, WANTED),
        )
    if not cameras:
        yield Check("cameras", "camera", lambda: doctor_devices.no_camera(robot))


def _arm(robot: bool) -> Iterator[Check]:
    yield Check(
        "arm", "Interbotix", lambda: doctor_ros.interbotix(doctor_ros.prefixes(), robot)
    )
    yield Check("arm", "serial port", lambda: doctor_devices.serial_port(robot))
    yield Check("arm", "udev rule", lambda: doctor_devices.udev_rule(robot))
    yield Check("arm", "latency timer", lambda: doctor_devices.latency_timer(robot))
    yield Check("arm", "interference", doctor_devices.interference)


def _computer(bags: Path, robot: bool, before: float) -> Iterator[Check]:
    yield Check("computer", "disk", lambda: doctor_computer.disk(bags, robot))
    yield Check(
        "computer",
        "processor",
        lambda: doctor_computer.processor(os.getloadavg()[0], os.cpu_count() or 1),
    )
    yield Check(
        "computer", "GPU", lambda: doctor_computer.gpu(importlib.import_module("torch"))
    )
    yield Check(
        "computer",
        "clock",
        lambda: doctor_computer.clock(before, doctor_computer.clock_state()),
    )


def python(version: tuple[int, int] = sys.version_info[:2]) -> CheckResult:
    """Judge the interpreter."""
    found = f"{platform.python_version()}: {sys.executable}"
    if not (3, 10) <= version <= (3, 13):
        return CheckResult(
            "fail",
            found,
            "the ROS 2 wheels exist for 3.10 to 3.13: make clean, make setup PYTHON=python3.12",
        )
    return CheckResult("ok", found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptr doctor",
        description=f"{main.__doc__} Exit status 0 if nothing failed.",
        epilog="Levels: ok; none (not here, and not needed); warn; fail.",
    )
    parser.add_argument(
        "--robot",
        action="store_true",
        help="demand what the real arm needs, with the graph as it has it",
    )
    parser.add_argument(
        "--bags",
        type=Path,
        default=Path("bags"),
        help="folder that will receive bags (default: bags)",
    )
    parser.add_argument(
        "--snapshots",
        type=Path,
        default=Path("runs/doctor"),
        help="receives a picture of each camera (default: runs/doctor)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="writes the results for machines"
    )
    return parser


def main(argv: list[str]) -> int:
    """Say what works on this computer, and what to do about the rest."""
    options, started = _parser().parse_args(argv), time.monotonic()
    lines = tell(examine(checks(options)))
    print("versions")
    for name, found in versions().items():
        print(f"        {name:<24} {found}")
    levels = count(lines)
    print(
        ", ".join(f"{number} {level}" for level, number in levels.items()),
        f"in {time.monotonic() - started:.0f} s",
    )
    if levels["none"] and not options.robot:
        print(
            "none: not here, not needed; `ptr doctor --robot` demands what the real robot needs, and says how to get it"
        )
    if options.json:
        save(lines, options.json, robot=options.robot, levels=levels, versions=versions())
        print(f"written: {options.json}")
    return 1 if levels["fail"] else 0
