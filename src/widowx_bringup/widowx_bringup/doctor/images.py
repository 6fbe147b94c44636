"""Checks of `ptr doctor` for images between processes: shared memory, loss, latency."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widowx_bringup.graph.environment import (
    PROFILE,
    is_humble,
    profile_file,
    stays_here,
)

from .image_transport import ImageStream, TransportError, TransportResult, measure
from .network import SOCKET_BUFFER
from .results import CheckResult

SEGMENT = 34e6
"""Shared memory that a process takes [bytes]."""

GRAPH_MEMORY = 9 * SEGMENT
"""Shared memory of a graph with one or two tools beside it [bytes].

Where some processes get a segment and others do not, most images are lost.
"""

LATE = 0.05
"""Largest latency of the 99th percentile [s]; a policy rejects images older than 0.2 s."""

MOST_LOST = 0.05
"""Largest lost fraction on a busy computer; more means that a setting is wrong."""

CLEAN = "run `fastdds shm clean` (it leaves living processes alone)"


def check_shared_memory(folder: Path = Path("/dev/shm")) -> CheckResult:
    """Check size of the shared memory, and what dead processes left there.

    Args:
        folder: Where the shared memory is mounted.
    """
    state = os.statvfs(folder)
    size = state.f_blocks * state.f_frsize
    free = state.f_bavail * state.f_frsize
    leftovers, leftover_bytes = _leftovers(folder)
    found = f"{folder}: {free / 1e6:,.0f} of {size / 1e6:,.0f} MB free"
    if leftovers:
        amount = f"{leftover_bytes / 1e6:,.0f} MB"
        found += f"; {leftovers} segments of dead processes take {amount}"

    values = {
        "size": size,
        "free": free,
        "leftovers": leftovers,
        "leftover_bytes": leftover_bytes,
    }
    if free < GRAPH_MEMORY:
        remedy = CLEAN if free + leftover_bytes >= GRAPH_MEMORY else _grow_remedy(folder)
        return CheckResult(
            "fail" if free < 3 * SEGMENT else "warn",
            found,
            f"a graph takes {GRAPH_MEMORY / 1e6:.0f} MB: {remedy}",
            values,
        )

    if leftover_bytes > size / 4:
        return CheckResult("warn", found, CLEAN, values)
    return CheckResult("ok", found, values=values)


def _grow_remedy(folder: Path) -> str:
    return (
        f"sudo mount -o remount,size=1G {folder}; "
        "in a container: docker run --ipc=host, or --shm-size=1g"
    )


def _leftovers(folder: Path) -> tuple[int, int]:
    """Return number and bytes of the Fast DDS segments whose process is dead.

    A living process keeps the lock file of its segment locked.
    """
    number = 0
    size = 0
    for lock in folder.glob("fastrtps_*_el"):
        try:
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                segment = lock.with_name(lock.name.removesuffix("_el"))
                size += segment.stat().st_blocks * 512
                number += 1
        except OSError:  # alive, another user's, or removed meanwhile
            continue

    return number, size


@dataclass(frozen=True)
class Circumstances:
    """Settings and load that decide how images arrive.

    Attributes:
        profile: Fast DDS profile that the nodes get; empty for none.
        default_profile: The profile of this system.
        memory: Free shared memory [bytes].
        socket_buffer: Largest socket buffer that the kernel grants [bytes].
        busy: Processes that want to run, per core.
    """

    profile: str
    default_profile: Path
    memory: float
    socket_buffer: int
    busy: float


def check_images(environment: Mapping[str, str], stream: ImageStream) -> CheckResult:
    """Send images from process to process as the nodes do; judge loss and latency.

    Args:
        environment: All variables of a node.
        stream: Size, rate and number of the images.
    """
    try:
        transport = measure(stream, environment)
    except TransportError as error:
        return CheckResult(
            "fail",
            str(error),
            "correct the lines above first; "
            "a firewall must let UDP multicast and 127.0.0.1 through",
        )

    memory = os.statvfs("/dev/shm")
    circumstances = Circumstances(
        profile=environment.get(PROFILE, ""),
        default_profile=profile_file(stays_here(environment, is_humble())),
        memory=memory.f_bavail * memory.f_frsize,
        socket_buffer=int(Path("/proc/sys/net/core/rmem_max").read_text()),
        busy=os.getloadavg()[0] / (os.cpu_count() or 1),
    )
    return judge_images(stream, transport, circumstances)


def judge_images(
    stream: ImageStream, transport: TransportResult, circumstances: Circumstances
) -> CheckResult:
    """Judge loss and latency, and name the setting that improves them.

    Args:
        stream: What was sent.
        transport: What arrived.
        circumstances: Settings and load.
    """
    lost = transport.sent - len(transport.latencies)
    values: dict[str, Any] = {
        "sent": transport.sent,
        "lost": lost,
        "shared_memory": transport.shared_memory,
        "other_nodes": list(transport.others),
    }
    late = True
    found = f"{stream.width}x{stream.height} at {stream.rate:g} Hz: "
    found += f"{lost} of {transport.sent} lost"
    if len(transport.latencies):
        median, p99 = np.percentile(transport.latencies, (50, 99)).tolist()
        late = p99 > LATE
        values |= {"median": median, "p99": p99}
        found += f"; median {median * 1e3:.1f} ms, 99 % {p99 * 1e3:.1f} ms"

    found += f"; {'through' if transport.shared_memory else 'not through'} shared memory"
    if transport.others:
        more = ", …" if len(transport.others) > 3 else ""
        found += f"; other nodes in the graph: {', '.join(transport.others[:3])}{more}"

    if not lost and not late and transport.shared_memory:
        return CheckResult("ok", found, values=values)
    level = "fail" if lost > MOST_LOST * transport.sent else "warn"
    return CheckResult(level, found, _remedy(transport, circumstances), values)


def _remedy(transport: TransportResult, circumstances: Circumstances) -> str:
    if circumstances.profile != str(circumstances.default_profile):
        return f"unset {PROFILE}, or export {PROFILE}={circumstances.default_profile}"
    if circumstances.memory < GRAPH_MEMORY:
        return "correct the line `shared memory` first"
    if not transport.shared_memory and circumstances.socket_buffer < SOCKET_BUFFER:
        return (
            "images go through sockets, whose buffers are too small (net.core.rmem_max): "
            "sudo docker/host/setup --network"
        )

    if not transport.shared_memory:
        return (
            "images go through sockets: is /dev/shm writable, "
            "and the same for all processes (docker run --ipc=host)?"
        )

    if circumstances.busy > 1:
        return (
            f"{circumstances.busy:.1f} processes want each core: "
            "end other programs and measure again"
        )

    return "leave one core to the graph, or lower camera_rate:=…, width:=… and height:=…"
