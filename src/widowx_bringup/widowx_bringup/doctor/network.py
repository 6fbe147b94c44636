"""Checks of `ptr doctor` for how nodes find each other: middleware, profile, discovery."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from widowx_bringup.graph.environment import PROFILE

from .installation import FAST_DDS_REMEDY, Installation
from .results import CheckResult

RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
"""Values of ROS_AUTOMATIC_DISCOVERY_RANGE."""

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
    if Path(named).read_bytes() != default.read_bytes():
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
    reach = _discovery_range(environment, distribution)
    if reach not in RANGES:
        return CheckResult(
            "fail",
            f"ROS_AUTOMATIC_DISCOVERY_RANGE={reach}",
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
            "unset ROS_AUTOMATIC_DISCOVERY_RANGE",
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
    variable = "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
    if distribution == "humble":
        variable = "ROS_LOCALHOST_ONLY=1"
    return (
        f"export ROS_DOMAIN_ID=… (1 to {SAFE_DOMAIN}) on each computer of the robot; "
        f"or {variable}, if the robot has one computer only"
    )


def _discovery_range(environment: Mapping[str, str], distribution: str) -> str:
    if environment.get("ROS_LOCALHOST_ONLY") == "1":  # newer distributions still honour it
        return "LOCALHOST"
    if distribution == "humble":
        return "SUBNET"
    return environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
