"""Starts the nodes of a graph as processes, watches them, and leaves none behind."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import TracebackType

import yaml

from ptr_common.errors import PtrError

from .graphs import config_folder
from .spec import NodeSpec

PR_SET_PDEATHSIG = 1
GRACE = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
"""Signals to end a node that did not end when it was asked to, each with the time it is given [s]."""


class NodeDiedError(PtrError):
    """A node ended although the graph still needed it."""


@dataclass
class _Running:
    spec: NodeSpec
    label: str  # what it is called here
    process: subprocess.Popen[str]
    log: Path
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    reader: threading.Thread | None = None


class Processes:
    """The nodes of one graph as processes; a context manager that ends them all.

    Args:
        specs: Nodes to start.
        log_folder: Receives one `<executable>.log` and `<executable>.yaml` (the parameters)
            per node; of several with the same executable, the end of the namespace is part
            of the name.
        environment: Variables on top of the inherited ones.
        show: Called with every line a node prints, prefixed with its name; None keeps them
        in the log only.
    """

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        log_folder: Path,
        environment: Mapping[str, str],
        show: Callable[[str], object] | None = None,
    ) -> None:
        if importlib.util.find_spec("rclpy") is None:
            raise PtrError(
                f"rclpy is not installed for {sys.executable}; run `make setup` or source ROS 2"
            )
        self._specs = specs
        self.log_folder = log_folder
        self._environment = {
            **os.environ,
            **_wheel_environment(),
            **environment,
            "PYTHONUNBUFFERED": "1",
        }
        self._show = show
        self._running: list[_Running] = []

    def __enter__(self) -> Processes:
        self.log_folder.mkdir(parents=True, exist_ok=True)
        try:
            for spec in self._specs:
                self._running.append(self._start(spec))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Raise NodeDiedError, with the node's last lines, if one has ended."""
        for running in self._running:
            status = running.process.poll()
            if status is not None:
                raise NodeDiedError(_obituary(running, status))

    def wait(self) -> tuple[str, int]:
        """Wait until a node ends; return its name and exit status, negative for a signal.

        What the others print from then on is in the logs only.
        """
        while True:
            for running in self._running:
                status = running.process.poll()
                if status is not None:
                    assert running.reader is not None
                    running.reader.join(timeout=1.0)
                    self._show = None
                    return running.label, status
            time.sleep(0.05)

    def stop(self) -> None:
        """End all nodes: asked first, killed last."""
        longest = max((spec.grace for spec in self._specs), default=0.0)
        for number, patience in ((signal.SIGINT, longest), *GRACE):
            alive = [running for running in self._running if running.process.poll() is None]
            for running in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.process.pid, number)
            deadline = time.monotonic() + patience
            for running in alive:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(max(0.0, deadline - time.monotonic()))
        for running in self._running:
            if running.reader is not None:
                running.reader.join(timeout=1.0)

    def _start(self, spec: NodeSpec) -> _Running:
        label = self._label(spec)
        parameters = self.log_folder / f"{label}.yaml"
        parameters.write_text(
            yaml.safe_dump({"/**": {"ros__parameters": dict(spec.parameters)}})
        )
        process = subprocess.Popen(
            command_line(spec, parameters),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, in order
            preexec_fn=end_with_parent,
        )
        running = _Running(spec, label, process, self.log_folder / f"{label}.log")
        running.reader = threading.Thread(
            target=self._copy_output, args=(running,), daemon=True
        )
        running.reader.start()
        return running

    def _copy_output(self, running: _Running) -> None:
        assert running.process.stdout is not None
        with running.log.open("w", buffering=1) as log:
            for line in running.process.stdout:
                log.write(line)
                running.last_lines.append(line.rstrip())
                if self._show is not None:
                    self._show(f"[{running.label}] {line.rstrip()}")

    def _label(self, spec: NodeSpec) -> str:
        """Return the executable, and where several have the same one also the end of the namespace."""
        alike = sum(other.executable == spec.executable for other in self._specs)
        return (
            spec.executable
            if alike == 1
            else f"{spec.executable}.{spec.namespace.rpartition('/')[2]}"
        )


def command_line(spec: NodeSpec, parameters: Path) -> list[str]:
    """Return the command that starts a node.

    Args:
        spec: The node.
        parameters: File with the parameters that go on top of those in config/.
    """
    command = [*_program(spec), "--ros-args"]
    if spec.namespace:
        command += ["-r", f"__ns:=/{spec.namespace.strip('/')}"]
    if spec.name:
        command += ["-r", f"__node:={spec.name}"]
    for old, new in spec.remappings:
        command += ["-r", f"{old}:={new}"]
    files = [config_folder() / spec.config] if spec.config else []
    for file in (*files, parameters):
        command += ["--params-file", str(file)]
    return command


def _program(spec: NodeSpec) -> list[str]:
    """Return how to run a node's executable: a module of ours, or a program of another package of ROS."""
    if module := module_of(spec):
        return [sys.executable, "-m", module]
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        program = Path(prefix) / "lib" / spec.package / spec.executable
        if program.is_file():
            return [str(program)]
    raise PtrError(
        f"the package {spec.package} is not installed: apt-get install "
        f"ros-{os.environ.get('ROS_DISTRO', 'humble')}-{spec.package.replace('_', '-')}, or choose another driver"
    )


def module_of(spec: NodeSpec) -> str:
    """Return the module that a package of ours names for an executable in its `setup.py`; empty where it has none."""
    try:
        scripts = distribution(spec.package).entry_points.select(group="console_scripts")
    except PackageNotFoundError:
        return ""
    return next((script.module for script in scripts if script.name == spec.executable), "")


def _obituary(running: _Running, status: int) -> str:
    if running.reader is not None:
        running.reader.join(timeout=1.0)  # its last lines are the ones that matter
    lines = "".join(f"\n  {line}" for line in running.last_lines)
    how = describe_status(status)
    return f"{running.label} ended ({how}); its last lines (all of them in {running.log}):{lines}"


def describe_status(status: int) -> str:
    """Return an exit status in words; negative ones stand for a signal."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


_prctl = ctypes.CDLL(None).prctl


def end_with_parent() -> None:
    """Have the kernel end this child when its parent dies, however it dies."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wheel_environment() -> dict[str, str]:
    """Return what the ROS wheels need, so that no interpreter has to start twice; nothing where ROS is from apt."""
    libraries = [str(path) for entry in sys.path for path in Path(entry).glob("ros_*.libs")]
    if not libraries:
        return {}
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    paths = [
        str(Path(sys.prefix) / "lib"),
        *libraries,
        os.environ.get("LD_LIBRARY_PATH", ""),
    ]
    return {
        "AMENT_PREFIX_PATH": os.pathsep.join(
            dict.fromkeys(filter(None, [*prefixes, sys.prefix]))
        ),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths)),
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
    }
