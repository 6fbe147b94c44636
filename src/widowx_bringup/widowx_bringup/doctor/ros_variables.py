"""Checks of `ptr doctor` for variables that belong together and contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from widowx_bringup.graph.environment import (
    DISCOVERY_RANGE,
    LOCALHOST_ONLY,
    PROFILE,
    STATIC_PEERS,
    discovery_range,
    profile_file,
    stays_here,
)

from .installation import Installation
from .results import CheckResult

DOMAIN = "ROS_DOMAIN_ID"
MIDDLEWARE = "RMW_IMPLEMENTATION"
NEWER_PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
BUILTIN_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
QOS_FROM_XML = "RMW_FASTRTPS_USE_QOS_FROM_XML"
DISCOVERY_SERVER = "ROS_DISCOVERY_SERVER"
CYCLONE = "CYCLONEDDS_URI"
SECURITY = "ROS_SECURITY_ENABLE"
KEYSTORE = "ROS_SECURITY_KEYSTORE"
STRATEGY = "ROS_SECURITY_STRATEGY"

BELONGING = (
    *(DOMAIN, DISCOVERY_RANGE, STATIC_PEERS, LOCALHOST_ONLY, MIDDLEWARE, PROFILE),
    *(NEWER_PROFILE, QOS_FROM_XML, BUILTIN_TRANSPORTS, DISCOVERY_SERVER, CYCLONE),
    *(SECURITY, KEYSTORE, STRATEGY),
)
"""Variables that decide which nodes find each other and how messages travel."""

FOLDER_PROFILE = "DEFAULT_FASTRTPS_PROFILES.xml"
"""File that Fast DDS reads in the working folder of every process."""


@dataclass(frozen=True)
class Shell:
    """A shell whose variables are looked at.

    Attributes:
        variables: All of them.
        ros: What is installed.
        folder: Working folder.
    """

    variables: Mapping[str, str]
    ros: Installation
    folder: Path

    @property
    def humble(self) -> bool:
        """Whether the distribution is Humble."""
        return self.ros.distribution == "humble"

    @property
    def fast_dds(self) -> bool:
        """Whether Fast DDS is in use, or nothing is known of another one."""
        return not self.ros.middleware or self.ros.middleware.startswith("rmw_fastrtps")

    def text(self, name: str) -> str:
        """Return the value of a variable; empty if it is unset."""
        return self.variables.get(name, "")

    def pair(self, name: str) -> str:
        """Return a variable and its value as a shell writes them."""
        return f"{name}={self.text(name)}"


def check_variables(shell: Shell) -> CheckResult:
    """List the variables that decide which nodes find each other.

    Args:
        shell: The shell.
    """
    pairs = [shell.pair(name) for name in BELONGING if shell.text(name)]
    return CheckResult(
        "ok", ", ".join(pairs) or f"none of {DOMAIN}, {DISCOVERY_RANGE}, … set"
    )


def contradictions(shell: Shell) -> Iterator[tuple[str, CheckResult]]:
    """Yield each contradiction: the name of its variable, and what to do about it.

    Args:
        shell: The shell.
    """
    yield from _of_discovery(shell)
    yield from _of_peers(shell)
    if shell.fast_dds:
        yield from _of_fast_dds(shell)
        yield from _of_profiles(shell)
    else:
        yield from _of_another_middleware(shell)
    yield from _of_security(shell)


def _line(
    name: str, found: str, remedy: str, level: str = "warn"
) -> tuple[str, CheckResult]:
    return name, CheckResult(level, found, remedy)


def _of_discovery(shell: Shell) -> Iterator[tuple[str, CheckResult]]:
    only, reach = shell.text(LOCALHOST_ONLY), shell.text(DISCOVERY_RANGE)
    if shell.humble and reach:
        yield _line(
            DISCOVERY_RANGE,
            f"{shell.pair(DISCOVERY_RANGE)} has no effect on Humble",
            f"unset {DISCOVERY_RANGE}; export {LOCALHOST_ONLY}=1 keeps nodes here",
        )
    if not shell.humble and only:
        remedy = f"unset {LOCALHOST_ONLY}"
        found = f"{shell.pair(LOCALHOST_ONLY)} is deprecated"
        overridden = [shell.pair(STATIC_PEERS)] if shell.text(STATIC_PEERS) else []
        if reach not in ("", "LOCALHOST"):
            overridden.append(shell.pair(DISCOVERY_RANGE))
        if only == "1" and overridden:
            found += f", and overrides {' and '.join(overridden)}"
        elif only == "1":
            remedy += f"; export {DISCOVERY_RANGE}=LOCALHOST"
        yield _line(LOCALHOST_ONLY, found, remedy)
    if server := shell.text(DISCOVERY_SERVER):
        yield _line(
            DISCOVERY_SERVER,
            f"nodes find each other through the server {server} only",
            f"unset {DISCOVERY_SERVER}, or export it in every shell of every computer",
        )


def _of_peers(shell: Shell) -> Iterator[tuple[str, CheckResult]]:
    peers = shell.text(STATIC_PEERS)
    reach = discovery_range(shell.variables, shell.humble)
    if peers and shell.humble:
        yield _line(
            STATIC_PEERS,
            f"{shell.pair(STATIC_PEERS)} has no effect on Humble",
            f"unset {STATIC_PEERS}; name peers as initialPeersList in a profile",
        )
    elif "," in peers or " " in peers.strip():
        yield _line(
            STATIC_PEERS,
            f"{shell.pair(STATIC_PEERS)}: no node starts with this",
            f"separate them by semicolons: export {STATIC_PEERS}='a;b'",
            "fail",
        )
    elif peers and reach in ("OFF", "SYSTEM_DEFAULT"):
        yield _line(
            STATIC_PEERS,
            f"{DISCOVERY_RANGE}={reach} ignores {shell.pair(STATIC_PEERS)}",
            f"export {DISCOVERY_RANGE}=LOCALHOST (those peers only) or SUBNET",
        )


def _of_another_middleware(shell: Shell) -> Iterator[tuple[str, CheckResult]]:
    for name in (PROFILE, NEWER_PROFILE, BUILTIN_TRANSPORTS, QOS_FROM_XML):
        if shell.text(name):
            found = f"{shell.pair(name)} has no effect on {shell.ros.middleware}"
            yield _line(name, found, f"unset {name} or {MIDDLEWARE}")


def _of_fast_dds(shell: Shell) -> Iterator[tuple[str, CheckResult]]:
    asked = shell.text(MIDDLEWARE)
    if asked and shell.ros.middleware and asked != shell.ros.middleware:
        yield _line(
            MIDDLEWARE,
            f"{shell.pair(MIDDLEWARE)}, but {shell.ros.middleware} is in use",
            f"unset {MIDDLEWARE}",
            "fail",
        )
    if shell.text(CYCLONE):
        found = f"{shell.pair(CYCLONE)} has no effect on Fast DDS"
        yield _line(CYCLONE, found, f"unset {CYCLONE}")
    if shell.text(BUILTIN_TRANSPORTS):
        yield _line(
            BUILTIN_TRANSPORTS,
            f"{shell.pair(BUILTIN_TRANSPORTS)} has no effect on our nodes, and keeps other "
            "programs of this shell from them where it leaves out UDP, as LARGE_DATA does",
            f"unset {BUILTIN_TRANSPORTS}",
        )
    if shell.text(QOS_FROM_XML) == "1":
        yield _line(
            QOS_FROM_XML,
            f"{shell.pair(QOS_FROM_XML)}: memory and publication of messages come from the "
            "profile, and ours sets neither",
            f"unset {QOS_FROM_XML}",
        )


def _of_profiles(shell: Shell) -> Iterator[tuple[str, CheckResult]]:
    if shell.text(NEWER_PROFILE):
        yield _line(
            NEWER_PROFILE,
            f"{shell.pair(NEWER_PROFILE)} is not read by the Fast DDS of Humble and Jazzy",
            f"unset {NEWER_PROFILE}; the variable of theirs is {PROFILE}",
        )
    alone = profile_file(localhost=True)
    named = Path(shell.text(PROFILE))
    if named.name == alone.name and not stays_here(shell.variables, shell.humble):
        yield _line(
            PROFILE,
            f"{alone.name} keeps other programs of this shell on this computer, but "
            f"{DISCOVERY_RANGE} or {STATIC_PEERS} lets them out",
            f"unset {PROFILE}, or export {PROFILE}={profile_file()}",
        )
    if (shell.folder / FOLDER_PROFILE).exists():
        yield _line(
            FOLDER_PROFILE,
            f"every node that is started in {shell.folder} reads {FOLDER_PROFILE} as well",
            "move it away, or start the nodes in another folder",
        )


def _of_security(shell: Shell) -> Iterator[tuple[str, CheckResult]]:
    if shell.text(SECURITY).lower() != "true":
        return
    store = shell.text(KEYSTORE)
    if not store or not Path(store).is_dir():
        yield _line(
            SECURITY,
            f"{shell.pair(SECURITY)}, but {KEYSTORE}={store} is no folder",
            f"ros2 security create_keystore FOLDER; export {KEYSTORE}=FOLDER",
            "fail",
        )
    if shell.text(STRATEGY) != "Enforce":
        yield _line(
            STRATEGY,
            f"{shell.pair(SECURITY)} without {STRATEGY}=Enforce: a node without keys runs "
            "unprotected and says nothing",
            f"export {STRATEGY}=Enforce",
        )
