"""Starts the nodes of a graph as processes, watches them, and ends them all."""

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
from ptr_common.process.interrupts import hold_back

from .environment import config_folder
from .spec import NodeSpec

PR_SET_PDEATHSIG = 1  # linux/prctl.h

GRACE = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
"""Signals to a node that does not end after SIGINT, each with the time it then has [s]."""

POLL_PERIOD = 0.05
"""Time between two looks at the processes [s]."""

OUTPUT_TIMEOUT = 1.0
"""Longest time in which the last output of an ended process is read [s]."""

LAST_LINES = 8
"""Number of output lines in the error message about a node that ended."""


class NodeDiedError(PtrError):
    """A node ended although the graph still needed it."""


@dataclass
class _Running:
    """A node's process.

    Attributes:
        spec: The node.
        label: Its name in logs and messages.
        process: The process.
        log: File that receives its output.
        last_lines: Its newest lines of output.
        reader: Thread that copies the output.
    """

    spec: NodeSpec
    label: str
    process: subprocess.Popen[str]
    log: Path
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    reader: threading.Thread | None = None

    def finish_output(self) -> None:
        """Wait until the output of the ended process is read."""
        if self.reader is not None:
            self.reader.join(timeout=OUTPUT_TIMEOUT)


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

    Attributes:
        environment: All variables of the nodes.

    Raises:
        PtrError: If ROS is not installed for this interpreter.
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
        self.environment = {
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
                raise NodeDiedError(_death_notice(running, status))

    def wait(self) -> tuple[str, int]:
        """Wait until a node ends; afterwards, the output of the others goes to the logs only.

        Returns:
            The node's name and its exit status, negative for a signal.
        """
        while True:
            for running in self._running:
                status = running.process.poll()
                if status is not None:
                    running.finish_output()
                    self._show = None
                    return running.label, status
            time.sleep(POLL_PERIOD)

    def stop(self) -> None:
        """End all nodes: by SIGINT first, by SIGKILL last."""
        longest = max((spec.grace for spec in self._specs), default=0.0)
        for number, grace in ((signal.SIGINT, longest), *GRACE):
            self._signal(number, grace)
        for running in self._running:
            running.finish_output()

    def _signal(self, number: signal.Signals, grace: float) -> None:
        """Send a signal to all living nodes and wait until they end, `grace` seconds at most."""
        alive = [running for running in self._running if running.process.poll() is None]
        for running in alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, number)
        deadline = time.monotonic() + grace
        for running in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.0, deadline - time.monotonic()))

    def _start(self, spec: NodeSpec) -> _Running:
        label = self._label(spec)
        parameters = self.log_folder / f"{label}.yaml"
        document = {"/**": {"ros__parameters": dict(spec.parameters)}}
        parameters.write_text(yaml.safe_dump(document))
        process = subprocess.Popen(
            command_line(spec, parameters),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, in order
            preexec_fn=_begin_ours if module_of(spec) else end_with_parent,
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
        """Return the executable, followed by the end of the namespace where several have it."""
        same = [other for other in self._specs if other.executable == spec.executable]
        if len(same) == 1:
            return spec.executable
        return f"{spec.executable}.{spec.namespace.rpartition('/')[2]}"


# --- commands -----------------------------------------------------------------------------


def command_line(spec: NodeSpec, parameters: Path) -> list[str]:
    """Return the command that starts a node.

    Args:
        spec: The node.
        parameters: File whose parameters override those of the file in config/.

    Raises:
        PtrError: If the node's package is not installed.
    """
    command = [*_program(spec), "--ros-args"]
    if spec.namespace:
        command += ["-r", f"__ns:=/{spec.namespace.strip('/')}"]
    if spec.name:
        command += ["-r", f"__node:={spec.name}"]
    for old, new in spec.remappings:
        command += ["-r", f"{old}:={new}"]
    if spec.config:
        command += ["--params-file", str(config_folder() / spec.config)]
    return [*command, "--params-file", str(parameters)]


def _program(spec: NodeSpec) -> list[str]:
    """Return the command of an executable: a module of ours, or a program of a ROS package."""
    module = module_of(spec)
    if module:
        return [sys.executable, "-m", module]
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        program = Path(prefix) / "lib" / spec.package / spec.executable
        if prefix and program.is_file():
            return [str(program)]
    distribution_name = os.environ.get("ROS_DISTRO", "humble")
    raise PtrError(
        f"the package {spec.package} is not installed: apt-get install "
        f"ros-{distribution_name}-{spec.package.replace('_', '-')}, or choose another driver"
    )


def module_of(spec: NodeSpec) -> str:
    """Return the module of an executable of ours, from its package's console scripts.

    It is empty for an executable of another package.
    """
    try:
        scripts = distribution(spec.package).entry_points.select(group="console_scripts")
    except PackageNotFoundError:
        return ""
    for script in scripts:
        if script.name == spec.executable:
            return script.module
    return ""


def _wheel_environment() -> dict[str, str]:
    """Return the variables of the ROS wheels, so that no interpreter has to start twice.

    There are none where ROS is installed from apt.
    """
    libraries: list[str] = []
    for entry in sys.path:
        libraries += map(str, Path(entry).glob("ros_*.libs"))
    if not libraries:
        return {}
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    library_paths = [
        str(Path(sys.prefix) / "lib"),
        *libraries,
        os.environ.get("LD_LIBRARY_PATH", ""),
    ]
    return {
        "AMENT_PREFIX_PATH": _search_path([*dict.fromkeys([*prefixes, sys.prefix])]),
        "LD_LIBRARY_PATH": _search_path(library_paths),
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
    }


def _search_path(entries: Sequence[str]) -> str:
    return os.pathsep.join(entry for entry in entries if entry)


# --- ends of processes --------------------------------------------------------------------


def _death_notice(running: _Running, status: int) -> str:
    running.finish_output()  # the last lines are the ones that matter
    lines = "".join(f"\n  {line}" for line in running.last_lines)
    return (
        f"{running.label} ended ({describe_status(status)}); "
        f"its last lines (all of them in {running.log}):{lines}"
    )


def describe_status(status: int) -> str:
    """Return an exit status in words; negative ones stand for a signal."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


_prctl = ctypes.CDLL(None).prctl


def end_with_parent() -> None:
    """Have the kernel end this child when its parent dies, even by SIGKILL."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _begin_ours() -> None:
    """Let a child that is a node of ours end with its parent, and quietly while it starts."""
    end_with_parent()
    hold_back()
