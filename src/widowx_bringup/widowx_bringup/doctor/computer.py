"""Checks of `ptr doctor` that concern the computer: disk, clock, processor, GPU, drawing without a screen."""

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
"""A demo's rollouts and prior data take about a third of it [bytes]."""

RAW_CAMERA = 640 * 480 * 3 * 30.0
"""What the bag of one camera takes, uncompressed [bytes/s]."""

WRITE_TIME, WRITE_MOST = 3.0, 400e6
"""The disk is measured for so long [s], or until so much is written [bytes]."""

JUMP = 0.1
"""The arm holds when the clock jumps by this [s]."""

UNSET = "no service keeps it right: stamps of another computer's messages look late or early, and it may jump one day"

STA_UNSYNC, TIME_ERROR = 0x40, 5  # linux/timex.h

SCALING_BY_ITSELF = ("intel_pstate", "amd-pstate", "amd-pstate-epp")
"""Drivers whose governor `powersave` still goes up to the full clock rate."""


def disk(folder: Path, robot: bool) -> CheckResult:
    """Measure free space and sustained writing where bags go."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    found = f"{there}: {free / 1e9:.0f} GB free"
    if free < MINIMUM_FREE:
        remedy = "free some space; a demo takes 5 GB, a camera 100 GB an hour; or give --bags (here) and bag_directory:=…"
        return CheckResult(
            "fail", f"{found}, {MINIMUM_FREE / 1e9:.0f} GB wanted", remedy, {"free": free}
        )
    try:
        rate = write_rate(there)
    except OSError as error:
        return CheckResult(
            "fail",
            f"{found}; not writable: {error.strerror}",
            "choose another folder: bag_directory:=…",
        )
    found += f"; {rate / 1e6:.0f} MB/s written, a raw 640x480 camera takes {RAW_CAMERA / 1e6:.1f}"
    values = {"free": free, "rate": rate}
    if rate < 2 * RAW_CAMERA:
        level = "fail" if robot and rate < RAW_CAMERA else "warn"
        return CheckResult(
            level,
            found,
            "record on a disk of this computer (SSD, no network): bag_directory:=…",
            values,
        )
    return CheckResult("ok", found, values=values)


def write_rate(
    folder: Path, seconds: float = WRITE_TIME, most: float = WRITE_MOST
) -> float:
    """Return how fast a disk takes data for good [bytes/s]; nothing is left, for the file never has a name."""
    block = os.urandom(4 << 20)
    blocks, written, started = 1, 0, time.monotonic()
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        while written < most and time.monotonic() < started + seconds:
            before = time.monotonic()
            for _ in range(blocks):
                written += file.write(block)
            os.fsync(file.fileno())
            if time.monotonic() < before + seconds / 20:  # a slow disk gets little at once
                blocks = min(2 * blocks, 16)
        return written / (time.monotonic() - started)


@dataclass(frozen=True)
class ClockState:
    """What the kernel says of its clock."""

    synchronised: bool
    error: float  # at most [s]


def clock_state() -> ClockState:
    """Ask the kernel; nothing is changed."""
    buffer = ctypes.create_string_buffer(512)  # struct timex, modes = 0
    status = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if status < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _, _, _, largest, _, flags = struct.unpack_from("@Illlli", buffer)
    return ClockState(status != TIME_ERROR and not flags & STA_UNSYNC, largest * 1e-6)


def offset() -> float:
    """Return wall clock minus steady clock [s]; it changes only when somebody sets the clock."""
    return time.time() - time.monotonic()


def clock(before: float, state: ClockState) -> CheckResult:
    """Judge whether the clock is set by somebody, and whether it jumped.

    Args:
        before: `offset()` when the doctor began.
        state: What the kernel says.
    """
    jump = offset() - before
    values = {"synchronised": state.synchronised, "error": state.error, "jump": jump}
    found = (
        f"synchronised, off by {state.error * 1e3:.0f} ms at most"
        if state.synchronised
        else UNSET
    )
    if abs(jump) > JUMP / 2:
        found += f"; it jumped by {jump:.3f} s in this run"
        remedy = f"an arm holds when it jumps by {JUMP:g} s: let one service set it, slowly (chrony without makestep)"
        return CheckResult("fail" if abs(jump) > JUMP else "warn", found, remedy, values)
    if not state.synchronised:
        remedy = "sudo timedatectl set-ntp true, or install chrony; of a container or virtual machine: on its host"
        return CheckResult("warn", found, remedy, values)
    return CheckResult("ok", found, values=values)


def processor(
    load: float, cores: int, cpu: Path = Path("/sys/devices/system/cpu")
) -> CheckResult:
    """Judge load and frequency scaling.

    Args:
        load: Processes that want to run.
        cores: Number of cores.
        cpu: Folder of the kernel's settings.
    """
    governors = {
        file.read_text().strip() for file in cpu.glob("cpu[0-9]*/cpufreq/scaling_governor")
    }
    drivers = {
        file.read_text().strip() for file in cpu.glob("cpu[0-9]*/cpufreq/scaling_driver")
    }
    found = f"{cores} cores, load {load:.1f}"
    if governors:
        found += f", governor {'/'.join(sorted(governors))}"
    values = {"cores": cores, "load": load}
    if "powersave" in governors and not drivers <= set(SCALING_BY_ITSELF):
        remedy = (
            "it stays at the lowest clock rate: sudo cpupower frequency-set -g performance"
        )
        return CheckResult("warn", found, remedy, values)
    if load > cores:
        remedy = "busier than it has cores: what was measured above is worse for it; end other programs, run this again"
        return CheckResult("warn", found, remedy, values)
    return CheckResult("ok", found, values=values)


def gpu(torch: Any, proc: Path = Path("/proc")) -> CheckResult:
    """Say what trains and runs the policy.

    Args:
        torch: The module.
        proc: Where the kernel tells of NVIDIA's driver.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its words on an old driver; ours follow
        usable = torch.cuda.is_available()
    file = proc / "driver/nvidia/version"
    driver = (
        re.search(r"Kernel Module\D*([\d.]+)", file.read_text()) if file.is_file() else None
    )
    version = driver[1] if driver else "unknown"
    build = f"torch {torch.__version__}"
    if usable:
        device = torch.cuda.get_device_properties(0)
        more = (
            f", one of {torch.cuda.device_count()}" if torch.cuda.device_count() > 1 else ""
        )
        memory = f"{device.total_memory / 1e9:.0f} GB"
        return CheckResult(
            "ok",
            f"{device.name}{more}, {memory}; driver {version}, CUDA {torch.version.cuda}, {build}",
        )
    if file.is_file():
        found = f"NVIDIA's driver {version} is there, but {build} does not use it"
        if torch.version.cuda is None:
            return CheckResult(
                "warn",
                found,
                "it is a build for the CPU: make clean, then make setup TORCH_INDEX= (empty)",
            )
        return CheckResult(
            "warn",
            found,
            f"it wants a driver for CUDA {torch.version.cuda}; see also what nvidia-smi says",
        )
    found = f"{build} on the CPU: demo_ptr.yaml trains in minutes; ptr.yaml at full length wants a GPU"
    return CheckResult(
        "none", found, "a computer with an NVIDIA GPU, for the paper's networks"
    )


def rendering(robot: bool) -> CheckResult:
    """Draw a picture of the simulated scene; the real robot does without."""
    try:
        simulator = importlib.import_module("widowx_bringup.sim.world")
        flat = simulator.World().render("over_shoulder", 64, 64).std() == 0
    except Exception as error:  # each library and driver has its own
        flat, words = True, str(error)
    else:
        words = "the simulated camera's picture is empty"
    if flat:
        remedy = "sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri, or libosmesa6; simulation needs it"
        return CheckResult("warn" if robot else "fail", words, remedy)
    backend = importlib.import_module("widowx_bringup.sim.rendering").choose_backend()
    return CheckResult("ok", f"MuJoCo draws through {backend}")
