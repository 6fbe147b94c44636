"""Checks of `ptr doctor` for the computer: disk, clock, processor, GPU, rendering."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import shutil
import struct
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .results import CheckResult

MINIMUM_FREE = 5e9
"""Free disk space that is demanded [bytes]; the data of a demo take about a third of it."""

RAW_CAMERA = 640 * 480 * 3 * 30.0
"""Data rate of one uncompressed camera in a bag [bytes/s]."""

WRITE_SECONDS = 3.0
"""Longest duration of the disk measurement [s]."""

WRITE_BYTES = 400e6
"""Largest amount of data that the disk measurement writes [bytes]."""

JUMP = 0.1
"""Clock jump at which the arm holds its position [s]."""

CLOCK_REMEDY = (
    "sudo timedatectl set-ntp true, or install chrony; "
    "of a container or virtual machine: on its host"
)

SCALING_DRIVERS = {"intel_pstate", "amd-pstate", "amd-pstate-epp"}
"""Drivers whose governor `powersave` still reaches the full clock rate."""

STA_UNSYNC, TIME_ERROR = 0x40, 5  # linux/timex.h


def check_disk(folder: Path, robot: bool) -> CheckResult:
    """Check free space and sustained write rate of the disk that receives the bags.

    Args:
        folder: Folder of the bags; it need not exist.
        robot: Whether a disk too slow for one raw camera is a failure.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    found = f"{existing}: {free / 1e9:.0f} GB free"
    if free < MINIMUM_FREE:
        return CheckResult(
            "fail",
            f"{found}; at least {MINIMUM_FREE / 1e9:.0f} GB are needed",
            "free some space (a demo takes 5 GB, a raw camera 100 GB an hour), "
            "or choose another folder with --bags here and bag_directory:=… for the graph",
            {"free": free},
        )

    try:
        rate = write_rate(existing)
    except OSError as error:
        found += f"; not writable: {error.strerror}"
        return CheckResult("fail", found, "choose another folder with bag_directory:=…")

    return _judge_write_rate(found, free, rate, robot)


def _judge_write_rate(found: str, free: int, rate: float, robot: bool) -> CheckResult:
    needed = f"a raw 640x480 camera needs {RAW_CAMERA / 1e6:.1f} MB/s"
    found += f"; writes {rate / 1e6:.0f} MB/s, {needed}"
    values = {"free": free, "rate": rate}
    if rate >= 2 * RAW_CAMERA:
        return CheckResult("ok", found, values=values)
    level = "fail" if robot and rate < RAW_CAMERA else "warn"
    return CheckResult(
        level,
        found,
        "record on a local SSD, not on a network drive: bag_directory:=…",
        values,
    )


def write_rate(
    folder: Path, seconds: float = WRITE_SECONDS, most: float = WRITE_BYTES
) -> float:
    """Measure the rate at which a disk stores data permanently.

    The file has no name, so nothing remains even after Ctrl-C.

    Args:
        folder: An existing folder on the disk.
        seconds: Longest duration [s].
        most: Largest amount of data [bytes].

    Returns:
        The rate [bytes/s].
    """
    block = os.urandom(4 << 20)
    blocks = 1
    written = 0
    started = time.monotonic()
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        while written < most and time.monotonic() < started + seconds:
            before = time.monotonic()
            for _ in range(blocks):
                written += file.write(block)
            os.fsync(file.fileno())
            if time.monotonic() < before + seconds / 20:  # a slow disk gets few blocks
                blocks = min(2 * blocks, 16)
        return written / (time.monotonic() - started)


@dataclass(frozen=True)
class ClockState:
    """State of the kernel's clock.

    Attributes:
        synchronised: Whether a service keeps the clock right.
        error: Largest deviation from the true time [s].
    """

    synchronised: bool
    error: float


def clock_state() -> ClockState:
    """Read the state of the kernel's clock; nothing is changed."""
    buffer = ctypes.create_string_buffer(512)  # struct timex, modes = 0
    status = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if status < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _, _, _, largest, _, flags = struct.unpack_from("@Illlli", buffer)
    return ClockState(status != TIME_ERROR and not flags & STA_UNSYNC, largest * 1e-6)


def clock_offset() -> float:
    """Return wall clock minus steady clock [s]; only setting the clock changes it."""
    return time.time() - time.monotonic()


def check_clock(offset_before: float, state: ClockState) -> CheckResult:
    """Check whether a service sets the clock, and whether the clock jumped.

    Args:
        offset_before: `clock_offset()` at the start of the doctor [s].
        state: State of the kernel's clock.
    """
    jump = clock_offset() - offset_before
    values = {"synchronised": state.synchronised, "error": state.error, "jump": jump}
    found = f"synchronised, at most {state.error * 1e3:.0f} ms off"
    if not state.synchronised:
        found = (
            "not synchronised: stamps of another computer's messages look late or early, "
            "and the clock may jump"
        )

    if abs(jump) > JUMP / 2:
        found += f"; it jumped by {jump:.3f} s during this run"
        return CheckResult(
            "fail" if abs(jump) > JUMP else "warn",
            found,
            f"an arm holds at a jump of {JUMP:g} s: let one service set the clock, "
            "slowly (chrony without makestep)",
            values,
        )

    if not state.synchronised:
        return CheckResult("warn", found, CLOCK_REMEDY, values)
    return CheckResult("ok", found, values=values)


def check_processor(
    load: float, cores: int, cpu: Path = Path("/sys/devices/system/cpu")
) -> CheckResult:
    """Check load and frequency scaling.

    Args:
        load: Number of processes that want to run.
        cores: Number of cores.
        cpu: Folder of the kernel's settings.
    """
    governors = _scaling(cpu, "scaling_governor")
    drivers = _scaling(cpu, "scaling_driver")
    found = f"{cores} cores, load {load:.1f}"
    if governors:
        found += f", governor {'/'.join(sorted(governors))}"
    values = {"cores": cores, "load": load}
    if "powersave" in governors and not drivers <= SCALING_DRIVERS:
        return CheckResult(
            "warn",
            found,
            "the processor stays at its lowest clock rate: "
            "sudo cpupower frequency-set -g performance",
            values,
        )

    if load > cores:
        return CheckResult(
            "warn",
            found,
            "more processes than cores make the measurements above worse: "
            "end other programs and run this again",
            values,
        )

    return CheckResult("ok", found, values=values)


def _scaling(cpu: Path, name: str) -> set[str]:
    """Return the values that a setting of frequency scaling has on any core."""
    return {file.read_text().strip() for file in cpu.glob(f"cpu[0-9]*/cpufreq/{name}")}


def check_gpu(torch: Any, proc: Path = Path("/proc")) -> CheckResult:
    """Check which processor trains and runs the policy.

    Args:
        torch: The module PyTorch.
        proc: Folder in which the kernel lists NVIDIA's driver.
    """
    with warnings.catch_warnings():
        # PyTorch warns of an old driver; the result says more.
        warnings.simplefilter("ignore")
        usable = torch.cuda.is_available()

    file = proc / "driver/nvidia/version"
    version = _driver_version(file)
    build = f"torch {torch.__version__}"
    if usable:
        return CheckResult(
            "ok",
            f"{_gpu_name(torch)}; driver {version}, CUDA {torch.version.cuda}, {build}",
        )

    if file.is_file():
        return CheckResult(
            "warn",
            f"NVIDIA's driver {version} is installed, but {build} does not use it",
            _gpu_remedy(torch.version.cuda),
        )

    return CheckResult(
        "none",
        f"{build} on the CPU: demo_ptr.yaml trains in minutes, ptr.yaml needs a GPU",
        "a computer with an NVIDIA GPU, for the paper's networks",
    )


def _driver_version(file: Path) -> str:
    if not file.is_file():
        return "unknown"
    match = re.search(r"Kernel Module\D*([\d.]+)", file.read_text())
    return match[1] if match else "unknown"


def _gpu_name(torch: Any) -> str:
    device = torch.cuda.get_device_properties(0)
    number = torch.cuda.device_count()
    others = f", one of {number}" if number > 1 else ""
    return f"{device.name}{others}, {device.total_memory / 1e9:.0f} GB"


def _gpu_remedy(cuda: str | None) -> str:
    if cuda is None:
        return "PyTorch is a build for the CPU: make clean, then make setup TORCH_INDEX= (empty)"
    return f"PyTorch needs a driver for CUDA {cuda}; nvidia-smi may say more"


def check_rendering(robot: bool) -> CheckResult:
    """Render an image of the simulated scene, which the real robot does not need."""
    try:
        world = importlib.import_module("widowx_bringup.sim.world").World()
        empty = world.render("over_shoulder", 64, 64).std() == 0
        error_text = "the image of the simulated camera is empty"
    except Exception as error:  # each library and driver has its own exceptions
        empty = True
        error_text = str(error)

    if empty:
        return CheckResult(
            "warn" if robot else "fail",
            error_text,
            "simulation needs a renderer: sudo apt-get install libegl1 libopengl0 "
            "libgl1-mesa-dri, or libosmesa6",
        )

    backend = importlib.import_module("widowx_bringup.sim.rendering").choose_backend()
    return CheckResult("ok", f"MuJoCo renders through {backend}")
