"""Checks of `ptr doctor` that concern ROS: installation, messages, discovery, shared memory, images crossing."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widowx_bringup.graph.graphs import PROFILE, profile_file
from widowx_bringup.graph.processes import describe_status

from .image_transport import Crossing, Pictures, TransportError, measure
from .results import CheckResult, missing

TRIED = ("humble", "jazzy")

SETUP = "run `make setup`; on a robot PC, source /opt/ros/…/setup.bash and the workspace's install/setup.bash"

OUTSIDE = (
    "open a shell that sources nothing of /opt/ros (look into ~/.bashrc), or use the workspace built on that ROS "
    "(CONTRIBUTING.md, With an installed ROS 2)"
)

FAST_DDS = "unset RMW_IMPLEMENTATION, or export RMW_IMPLEMENTATION=rmw_fastrtps_cpp, on every computer of the graph"

DRIVER = ("interbotix_xs_sdk", "interbotix_xsarm_control")
"""Packages that move the arm. Not interbotix_xs_msgs: `make setup` brings a copy of it, for tests."""

STARTS = 20.0
"""Longest time in which ROS is imported [s]."""

CAMERA_PACKAGES = ("usb_cam", "v4l2_camera", "realsense2_camera")

SEGMENT = 34e6
"""Shared memory that a process takes [bytes]."""

GRAPH_MEMORY = 9 * SEGMENT
"""Shared memory that a whole graph takes, with a tool or two beside it [bytes]. Where some processes get a segment and
others none, most pictures are lost."""

SOCKET_BUFFER = 16_777_216
"""What config/fastdds.xml asks of sockets [bytes]."""

LATE = 0.05
"""Pictures are late if one of a hundred takes longer than this [s]; a policy refuses those older than 0.2 s."""

MOST_LOST = 0.05
"""Part of the pictures that may be lost on a busy computer; beyond it, a setting is wrong."""


@dataclass(frozen=True)
class Installation:
    """What a fresh interpreter says of ROS; `error` says why it could not."""

    rclpy: str = ""  # its file
    distribution: str = ""
    middleware: str = ""
    messages: str = ""  # what is wrong with ptr_msgs
    error: str = ""


def installation() -> Installation:
    """Ask a process of its own: libraries of two ROS in one process may end it without a word."""
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STARTS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Installation(error=f"no answer within {STARTS:g} s")
    if done.returncode:
        words = (done.stderr.strip().splitlines() or [describe_status(done.returncode)])[-1]
        return Installation(
            error=re.sub(r"^\[ERROR\] \[[\d.]+\] \[\w+\]: |, at /.*", "", words)
        )
    return Installation(**json.loads(done.stdout.splitlines()[-1]))


def distribution(
    ros: Installation, environment: Mapping[str, str], prefix: str = sys.prefix
) -> CheckResult:
    """Say which ROS is in use, and whether another one was sourced over it."""
    paths = [
        environment.get(name, "")
        for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH")
    ]
    foreign = [
        entry
        for path in paths
        for entry in path.split(os.pathsep)
        if entry.startswith("/opt/ros/")
    ]
    if ros.error:
        remedy = OUTSIDE if foreign else SETUP
        return CheckResult(
            "fail",
            f"rclpy does not start: {ros.error}",
            FAST_DDS if "RMW" in ros.error else remedy,
        )
    sourced, ours = (
        environment.get("ROS_DISTRO", ""),
        Path(ros.rclpy).is_relative_to(prefix),
    )
    found = f"{ros.distribution or 'unknown'}, {'wheels' if ours else 'installed'}: {Path(ros.rclpy).parent}"
    if sourced and ros.distribution and sourced != ros.distribution:
        return CheckResult(
            "fail", f"{found}; but ROS_DISTRO={sourced} is sourced in this shell", OUTSIDE
        )
    if ours and foreign:
        return CheckResult(
            "fail", f"{found}; but {foreign[0]} comes before it in this shell", OUTSIDE
        )
    if ros.distribution not in TRIED:
        return CheckResult(
            "warn",
            found,
            f"made for {' and '.join(TRIED)}; if something fails, use one of them",
        )
    return CheckResult("ok", found)


def middleware(ros: Installation) -> CheckResult:
    """Say which DDS is in use."""
    if not ros.middleware.startswith("rmw_fastrtps"):
        return CheckResult(
            "warn",
            f"{ros.middleware}; settings for it are yours to find, and config/fastdds.xml means nothing to it",
            FAST_DDS,
        )
    return CheckResult("ok", ros.middleware)


def profile(environment: Mapping[str, str], ours: Path) -> CheckResult:
    """Say with which Fast DDS profile the nodes run; `ours` is the one they get where the shell names none."""
    named = environment.get(PROFILE, "")
    remedy = f"unset {PROFILE}: the nodes get theirs by themselves"
    if not named:
        return CheckResult(
            "ok", f"{ours} (given to our nodes; export {PROFILE} for others)"
        )
    if not Path(named).is_file():
        return CheckResult("fail", f"{PROFILE}={named} is no file", remedy)
    if Path(named).read_bytes() != ours.read_bytes():
        return CheckResult(
            "warn",
            f"{named} is not {ours.name}; the line `images` says whether pictures cross",
            remedy,
        )
    return CheckResult("ok", named)


def discovery(
    environment: Mapping[str, str], distribution: str, robot: bool
) -> CheckResult:
    """Say whom the nodes find, and who finds them."""
    text = environment.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdigit() or int(text) > 232:
        return CheckResult(
            "fail",
            f"ROS_DOMAIN_ID={text}",
            "a domain is a number: export ROS_DOMAIN_ID=… from 0 to 101",
        )
    domain, reach = int(text), _reach(environment, distribution)
    if reach not in ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT"):
        return CheckResult(
            "fail",
            f"ROS_AUTOMATIC_DISCOVERY_RANGE={reach}",
            "it may be SUBNET, LOCALHOST or OFF",
        )
    found = f"domain {domain}, {reach}"
    if not robot:
        found = (
            f"a simulation stays on this computer (domain {domain}); this shell: {reach}"
        )
    if reach == "OFF":
        return CheckResult(
            "fail" if robot else "warn",
            f"{found}: nothing is found",
            "unset ROS_AUTOMATIC_DISCOVERY_RANGE",
        )
    if 101 < domain < 215:
        return CheckResult(
            "warn",
            found,
            "its ports may be taken by other programs; export ROS_DOMAIN_ID=… from 0 to 101",
        )
    if robot and domain == 0 and reach != "LOCALHOST":
        alone = (
            "ROS_LOCALHOST_ONLY=1"
            if distribution == "humble"
            else "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
        )
        return CheckResult(
            "warn",
            f"{found}: everyone on this network who set nothing hears this arm and can move it",
            f"export ROS_DOMAIN_ID=… (1 to 101) on each computer of the robot; or {alone}, if it has but this one",
        )
    return CheckResult("ok", found)


def _reach(environment: Mapping[str, str], distribution: str) -> str:
    if environment.get("ROS_LOCALHOST_ONLY") == "1":  # newer distributions still honour it
        return "LOCALHOST"
    return (
        "SUBNET"
        if distribution == "humble"
        else environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    )


def prefixes() -> list[Path]:
    """Return the folders in which packages of ROS are looked for."""
    entries = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return [Path(entry) for entry in dict.fromkeys(filter(None, entries))]


def find_package(name: str, where: Iterable[Path]) -> Path | None:
    """Return the prefix in which a package of ROS is installed."""
    index = Path("share/ament_index/resource_index/packages", name)
    return next((prefix for prefix in where if (prefix / index).exists()), None)


def messages(ros: Installation, source: Path, where: Iterable[Path]) -> CheckResult:
    """Compare the installed messages with the source tree, where there is one.

    Args:
        ros: See there.
        source: Folder of the package ptr_msgs in the source tree; need not exist.
        where: Prefixes to look in.
    """
    prefix = find_package("ptr_msgs", where)
    if ros.messages or prefix is None:
        return CheckResult(
            "fail", f"ptr_msgs does not load: {ros.messages or 'not installed'}", SETUP
        )
    files = sorted([*source.glob("msg/*.msg"), *source.glob("srv/*.srv")])
    share = prefix / "share/ptr_msgs"
    for file in files:
        installed = share / file.relative_to(source)
        if not installed.is_file() or installed.read_bytes() != file.read_bytes():
            remedy = (
                "run `make setup` (on a robot PC: colcon build), and restart every node"
            )
            return CheckResult(
                "fail", f"the installed {file.name} is not that of {source}", remedy
            )
    same = (
        f"the {len(files)} definitions of the source tree"
        if files
        else "no source tree to compare with"
    )
    return CheckResult("ok", f"ptr_msgs, {same}")


def interbotix(where: Iterable[Path], robot: bool) -> CheckResult:
    """Look for the driver of the real arm."""
    where = list(where)
    absent = [name for name in DRIVER if find_package(name, where) is None]
    if absent:
        remedy = "install Interbotix's X-series packages with the vendor's installer, source their workspace (docs/robot.md)"
        return missing(f"not installed: {', '.join(absent)}", remedy, robot)
    python = find_package("interbotix_xs_modules", where)
    opened = (
        "through InterbotixManipulatorXS"
        if python
        else "through the driver's topics (no interbotix_xs_modules)"
    )
    return CheckResult(
        "ok", f"{find_package(DRIVER[0], where)}; the arm is opened {opened}"
    )


def camera_drivers(where: Iterable[Path]) -> CheckResult:
    """Say which values of the argument camera_driver can be used."""
    where = list(where)
    there = [name for name in CAMERA_PACKAGES if find_package(name, where)]
    absent = [name for name in CAMERA_PACKAGES if name not in there]
    found = f"{', '.join(['opencv (ours)', *there])}"
    return CheckResult(
        "ok", f"{found}; not installed: {', '.join(absent)}" if absent else found
    )


def shared_memory(folder: Path = Path("/dev/shm")) -> CheckResult:
    """Say whether the memory through which pictures cross is large enough, and what dead processes left there."""
    state = os.statvfs(folder)
    size, free = state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize
    left, left_bytes = _leftovers(folder)
    found = f"{folder}: {free / 1e6:,.0f} of {size / 1e6:,.0f} MB free"
    if left:
        found += f"; {left} segments of dead processes take {left_bytes / 1e6:,.0f} MB"
    values = {"size": size, "free": free, "leftovers": left, "leftover_bytes": left_bytes}
    clean = "run `fastdds shm clean` (it leaves living processes alone)"
    if free < GRAPH_MEMORY:
        grow = f"sudo mount -o remount,size=1G {folder}; in a container: docker run --ipc=host, or --shm-size=1g"
        remedy = f"a graph takes {GRAPH_MEMORY / 1e6:.0f} MB: {clean if free + left_bytes >= GRAPH_MEMORY else grow}"
        return CheckResult("fail" if free < 3 * SEGMENT else "warn", found, remedy, values)
    return CheckResult(
        "warn" if left_bytes > size / 4 else "ok",
        found,
        clean if left_bytes > size / 4 else "",
        values,
    )


def _leftovers(folder: Path) -> tuple[int, int]:
    """Count the Fast DDS segments whose owner is dead, and their bytes: a living one keeps its lock file locked."""
    number = size = 0
    for lock in folder.glob("fastrtps_*_el"):
        try:
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                size += lock.with_name(lock.name.removesuffix("_el")).stat().st_blocks * 512
                number += 1
        except OSError:  # alive, someone else's, or gone by now
            continue
    return number, size


@dataclass(frozen=True)
class Circumstances:
    """What decides how images cross.

    Attributes:
        profile: File of Fast DDS's settings that the nodes get; empty for none.
        ours: The one that the system brings.
        memory: Free shared memory [bytes].
        socket_buffer: Largest buffer of a socket that the kernel grants [bytes].
        busy: Processes that want to run, for each core.
    """

    profile: str
    ours: Path
    memory: float
    socket_buffer: int
    busy: float


def images(environment: Mapping[str, str], pictures: Pictures) -> CheckResult:
    """Send pictures from process to process as the nodes do; judge loss and latency.

    Args:
        environment: All variables a node would have.
        pictures: What to send.
    """
    try:
        crossing = measure(pictures, environment)
    except TransportError as error:
        remedy = "mend the lines above first; a firewall must let UDP multicast and 127.0.0.1 through"
        return CheckResult("fail", str(error), remedy)
    memory = os.statvfs("/dev/shm")
    circumstances = Circumstances(
        profile=environment.get(PROFILE, ""),
        ours=profile_file(),
        memory=memory.f_bavail * memory.f_frsize,
        socket_buffer=int(Path("/proc/sys/net/core/rmem_max").read_text()),
        busy=os.getloadavg()[0] / (os.cpu_count() or 1),
    )
    return judge_images(pictures, crossing, circumstances)


def judge_images(
    pictures: Pictures, crossing: Crossing, circumstances: Circumstances
) -> CheckResult:
    """Judge loss and latency, and name the setting that mends them."""
    lost, way = (
        crossing.sent - len(crossing.latencies),
        "through" if crossing.shared_memory else "not through",
    )
    found = f"{pictures.width}x{pictures.height} at {pictures.rate:g} Hz: {lost} of {crossing.sent} lost"
    values: dict[str, Any] = {
        "sent": crossing.sent,
        "lost": lost,
        "shared_memory": crossing.shared_memory,
    }
    values["other_nodes"] = list(crossing.others)
    late = True
    if len(crossing.latencies):
        median, p99 = (
            float(value) for value in np.percentile(crossing.latencies, (50, 99))
        )
        late = p99 > LATE
        values |= {"median": median, "p99": p99}
        found += f"; median {median * 1e3:.1f} ms, 99 % {p99 * 1e3:.1f} ms"
    found += f"; {way} shared memory"
    if crossing.others:
        more = ", …" if len(crossing.others) > 3 else ""
        found += f"; nodes that run beside it: {', '.join(crossing.others[:3])}{more}"
    if not lost and not late and crossing.shared_memory:
        return CheckResult("ok", found, values=values)
    level = "fail" if lost > MOST_LOST * crossing.sent else "warn"
    return CheckResult(level, found, _mend(crossing, circumstances), values)


def _mend(crossing: Crossing, circumstances: Circumstances) -> str:
    if circumstances.profile != str(circumstances.ours):
        return f"unset {PROFILE}, or export {PROFILE}={circumstances.ours}"
    if circumstances.memory < GRAPH_MEMORY:
        return "mend the line `shared memory` first"
    if not crossing.shared_memory and circumstances.socket_buffer < SOCKET_BUFFER:
        return "it goes over sockets, whose buffers are too small (net.core.rmem_max): sudo docker/host/setup --network"
    if not crossing.shared_memory:
        return "it goes over sockets: is /dev/shm writable, and the same for all processes (docker run --ipc=host)?"
    if circumstances.busy > 1:
        return f"{circumstances.busy:.1f} processes want each core: end other programs and measure again"
    return (
        "leave the graph a core of its own, or lower camera_rate:=…, width:=… and height:=…"
    )


def main() -> int:
    """Print what this interpreter says of ROS."""
    from importlib.metadata import distributions

    import rclpy
    from rclpy.utilities import get_rmw_implementation_identifier

    installed = re.search(r"/opt/ros/(\w+)/", rclpy.__file__)
    wheels = [
        found[1]
        for d in distributions()
        if (found := re.fullmatch(r"ros-(\w+)-rclpy", d.name or ""))
    ]
    name = installed[1] if installed else (wheels or [os.environ.get("ROS_DISTRO", "")])[0]
    try:
        import ptr_msgs.msg
        import ptr_msgs.srv

        wrong = "" if ptr_msgs.msg.ArmState() and ptr_msgs.srv.ResetScene else "empty"
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    ros = Installation(rclpy.__file__, name, get_rmw_implementation_identifier(), wrong)
    print(json.dumps(vars(ros)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
