"""Two computers on one: network namespaces, joined by a cable, each with its own shared memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from widowx_bringup.graph.processes import end_with_parent

ADDRESSES = ("10.77.0.1", "10.77.0.2")
"""Addresses of the two computers, in their own network."""

CABLE = "cable"
"""Name of the network device at both ends."""

START_TIMEOUT = 10.0
"""Longest time until the cable carries [s]."""

ROLES = Path(__file__).with_name("network_roles.py")


class NotPermittedError(Exception):
    """This computer makes no network namespaces for this user."""


@dataclass(frozen=True)
class Computer:
    """A network and a shared memory of its own.

    Attributes:
        keeper: Process that holds both; they vanish with it.
        address: Address in the network of the two.
    """

    keeper: subprocess.Popen[str]
    address: str

    def command(self, *words: str) -> list[str]:
        """Return a command line that runs on this computer."""
        namespaces = ["--target", str(self.keeper.pid), "--net", "--mount"]
        return ["nsenter", *namespaces, f"--wd={Path.cwd()}", "--", *words]

    def start(self, variables: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
        """Start a process of network_roles.py on this computer.

        Args:
            variables: Variables of ROS; all others of ROS are unset.
            words: Role and its arguments.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ROS_", "RMW_", "FAST", "CYCLONE"))
        }
        return subprocess.Popen(
            self.command(sys.executable, str(ROLES), *words),
            env={**inherited, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=end_with_parent,
        )


@contextlib.contextmanager
def two_computers() -> Iterator[tuple[Computer, Computer]]:
    """Yield two computers that a cable joins.

    Raises:
        NotPermittedError: If this user may make no namespaces or no cable.
    """
    with contextlib.ExitStack() as stack:
        first, second = (
            Computer(stack.enter_context(_keeper()), address) for address in ADDRESSES
        )
        end = ["peer", "name", CABLE, "netns", str(second.keeper.pid)]
        _run(*first.command("ip", "link", "add", CABLE, "type", "veth", *end))
        for computer in (first, second):
            address = ["address", "add", f"{computer.address}/24", "dev", CABLE]
            _run(*computer.command("ip", *address))
            for device in ("lo", CABLE):
                _run(*computer.command("ip", "link", "set", device, "up"))
        for computer in (first, second):
            _wait_until_up(computer)
        yield first, second


@contextlib.contextmanager
def _keeper() -> Iterator[subprocess.Popen[str]]:
    """Yield a process with a network and a shared memory of its own."""
    script = "mount -t tmpfs -o size=2g tmpfs /dev/shm && echo there && exec cat"
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "there\n":
            raise NotPermittedError(process.communicate()[1].strip())
        yield process
    finally:
        process.terminate()
        process.communicate()


def _wait_until_up(computer: Computer) -> None:
    """Wait until the kernel says that the cable carries; Fast DDS looks once, at its start."""
    deadline = time.monotonic() + START_TIMEOUT
    while "state UP" not in _run(*computer.command("ip", "link", "show", CABLE)):
        if time.monotonic() > deadline:
            raise NotPermittedError(f"the cable is not up after {START_TIMEOUT:g} s")
        time.sleep(0.02)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermittedError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def become_root() -> None:
    """Start this program anew as root of a user namespace, unless it runs as root already.

    Raises:
        NotPermittedError: If a tool is missing or this user may make no user namespace.
    """
    if absent := [tool for tool in ("unshare", "nsenter", "ip") if not shutil.which(tool)]:
        raise NotPermittedError(
            f"not installed: {', '.join(absent)} (util-linux, iproute2)"
        )
    if os.geteuid() == 0:
        return
    user = ["unshare", "--user", "--map-root-user"]
    _run(*user, "true")
    os.execvp("unshare", [*user, sys.executable, *sys.argv])
