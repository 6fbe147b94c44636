"""Checks of `ptr doctor` for how nodes find each other: middleware, profile, discovery."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from widowx_bringup.graph.environment import (
    DISCOVERY_RANGE,
    PROFILE,
    discovery_range,
    is_own_profile,
    stays_here,
)

from .installation import FAST_DDS_REMEDY, Installation
from .results import CheckResult

FIRST_PORT, PORTS_OF_DOMAIN = 7400, 250
"""First UDP port of domain 0, and ports of each domain."""

SOCKET_BUFFER = 16_777_216
"""Socket buffer that config/fastdds.xml asks for [bytes]."""

RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
"""Values of `DISCOVERY_RANGE`."""

LAST_DOMAIN = 232
"""Largest number of a domain."""

SAFE_DOMAIN, HIGH_DOMAIN = 101, 215
"""Between these two domains, Linux may give the ports to other programs."""


def check_middleware(ros: Installation) -> CheckResult:
    """Check that Fast DDS is in use."""
    if ros.middleware.startswith("rmw_fastrtps"):
        return CheckResult("ok", ros.middleware)
    return CheckResult(
        "warn",
        f"{ros.middleware}, for which config/fastdds.xml sets nothing",
        FAST_DDS_REMEDY,
    )


def check_profile(environment: Mapping[str, str], default: Path) -> CheckResult:
    """Check with which Fast DDS profile the nodes run.

    Args:
        environment: Variables of this shell.
        default: The profile that the nodes get where the shell names none.
    """
    named = environment.get(PROFILE, "")
    if not named:
        return CheckResult(
            "ok",
            f"{default} (our nodes get it; export {PROFILE} for other programs)",
        )

    remedy = f"unset {PROFILE}: our nodes then get theirs"
    if not Path(named).is_file():
        return CheckResult("fail", f"{PROFILE}={named} is no file", remedy)
    if not is_own_profile(Path(named)):
        return CheckResult(
            "warn",
            f"{named} differs from {default.name}; "
            "the line `images` shows whether images arrive",
            remedy,
        )

    return CheckResult("ok", named)


def check_discovery(
    environment: Mapping[str, str], distribution: str, robot: bool
) -> CheckResult:
    """Check which nodes find each other, on this computer and in the network.

    Args:
        environment: Variables of this shell.
        distribution: Distribution of ROS.
        robot: Whether the graph moves a real arm.
    """
    text = environment.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdigit() or int(text) > LAST_DOMAIN:
        return CheckResult(
            "fail",
            f"ROS_DOMAIN_ID={text}",
            f"a domain is a number: export ROS_DOMAIN_ID=… from 0 to {SAFE_DOMAIN}",
        )

    domain = int(text)
    reach = discovery_range(environment, distribution == "humble")
    if reach not in RANGES:
        return CheckResult(
            "fail",
            f"{DISCOVERY_RANGE}={reach}, which nodes take for LOCALHOST",
            "choose SUBNET, LOCALHOST or OFF",
        )

    return _judge_discovery(domain, reach, distribution, robot)


def _judge_discovery(
    domain: int, reach: str, distribution: str, robot: bool
) -> CheckResult:
    found = f"domain {domain}, {reach}"
    if not robot:
        found = (
            f"a simulation stays on this computer (domain {domain}); this shell: {reach}"
        )

    if reach == "OFF":
        found += ": no node finds another"
        return CheckResult(
            "fail" if robot else "warn",
            found,
            f"unset {DISCOVERY_RANGE}",
        )

    if SAFE_DOMAIN < domain < HIGH_DOMAIN:
        return CheckResult(
            "warn",
            found,
            "other programs may have its ports; "
            f"export ROS_DOMAIN_ID=… from 0 to {SAFE_DOMAIN}",
        )

    if robot and domain == 0 and reach != "LOCALHOST":
        found += ": every computer of this network with ROS's defaults can move this arm"
        return CheckResult("warn", found, _separation_remedy(distribution))

    return CheckResult("ok", found)


def _separation_remedy(distribution: str) -> str:
    variable = f"{DISCOVERY_RANGE}=LOCALHOST"
    if distribution == "humble":
        variable = "ROS_LOCALHOST_ONLY=1"
    return (
        f"export ROS_DOMAIN_ID=… (1 to {SAFE_DOMAIN}) on each computer of the robot; "
        f"or {variable}, if the robot has one computer only"
    )


def ports(domain: int) -> tuple[int, int]:
    """Return the first and the last UDP port of a domain, for 120 processes on a computer.

    Args:
        domain: ROS_DOMAIN_ID.
    """
    first = FIRST_PORT + PORTS_OF_DOMAIN * domain
    return first, first + PORTS_OF_DOMAIN - 1


def check_second_computer(
    environment: Mapping[str, str],
    distribution: str,
    buffers: Path = Path("/proc/sys/net/core"),
) -> CheckResult:
    """Check what another computer needs to reach the robot: discovery, ports, buffers.

    Args:
        environment: Variables of this shell.
        distribution: Distribution of ROS.
        buffers: Folder with the kernel's limits of socket buffers.
    """
    humble = distribution == "humble"
    if stays_here(environment, humble) or discovery_range(environment, humble) == "OFF":
        return CheckResult("none", "no other computer reaches the robot")

    domain = environment.get("ROS_DOMAIN_ID", "") or "0"
    if not domain.isdigit() or int(domain) > LAST_DOMAIN:
        return CheckResult("none", "correct the line `discovery` first")

    first, last = ports(int(domain))
    granted = min(int((buffers / name).read_text()) for name in ("rmem_max", "wmem_max"))
    found = (
        f"ROS_DOMAIN_ID={domain} there too; its firewall and ours let UDP ports {first} to "
        f"{last} through; socket buffers of {granted:,} bytes"
    )
    values = {"first_port": first, "last_port": last, "socket_buffer": granted}
    if granted < SOCKET_BUFFER:
        remedy = (
            f"images to it want {SOCKET_BUFFER:,} bytes: sudo docker/host/setup --network "
            "on both computers"
        )
        return CheckResult("warn", found, remedy, values)
    return CheckResult("ok", found, values=values)
