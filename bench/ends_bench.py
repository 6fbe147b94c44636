"""End every node and every verb by Ctrl-C at random moments, and see how they end.

Each is started as a process of its own, in an empty folder and ROS domain, gets SIGINT at a
moment drawn uniformly from its first seconds, and has a limit: 5 s for a node, 20 s for a verb,
which ends its nodes first. Counted are processes that had to be killed and those in whose
output or logs, nodes of a verb included, a traceback stands; those that Python shows in the
first 0.1 s, before it comes to code of ours, are counted apart. Verbs whose inputs are not made
here are interrupted while they start or refuse. `--load` busy processes run beside.

    python bench/ends_bench.py --ends 50 --load 2
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ptr_common.text_table import text_table

ROOT = Path(__file__).resolve().parents[1]
NODE_LIMIT, VERB_LIMIT = 5.0, 20.0
"""Longest time from the signal to the end [s]."""

LATEST = {"ptr demo": 12.0, "ptr evaluate": 12.0, "ptr record": 12.0, "ptr up": 10.0}
"""Latest moment of the signal [s], where it is not `USUAL`."""

USUAL = 5.0

TRACEBACK = re.compile(r"Traceback|Exception ignored|terminate called")
PYTHONS_START = re.compile(r"Fatal Python error: init|_get_module_details")
"""In the traceback of a process that was interrupted before it came to code of ours."""

CRASHES = (-signal.SIGABRT, -signal.SIGBUS, -signal.SIGSEGV)

NODES: Mapping[str, Sequence[str]] = {
    "arm_node": ["autostart:=true"],
    "bag_player": ["bag:=none"],
    "camera_monitor": ["cameras:=[front]"],
    "camera_node": ["autostart:=true", "device:=simulator", "camera:=over_shoulder"],
    "console_node": ["port:=0"],
    "driver_keeper": ['command:=["sleep","1000"]'],
    "policy_node": [
        *("autostart:=true", "bundle:={inputs}/bundle", "camera:=front"),
        *("width:=64", "height:=48"),
    ],
    "policy_shadow": [
        *("autostart:=true", "bundle:={inputs}/bundle", "camera:=front"),
        *("width:=64", "height:=48"),
    ],
    "recorder_node": ["directory:=bags", "camera:=front"],
    "scripted_teleop": [],
    "simulation": ["autostart:=true"],
    "task_server": [],
    "teleop_node": ["device:=leader"],
}
"""Parameters of each node."""

TRAINING = "--config {config}/small.yaml --steps 500 --out run"
VERBS: Mapping[str, str] = {
    "benchmark": "simpler --policy {inputs}/bundle --out benchmark",
    "bundle": "none --out bundle",
    "calibrate": "camera --simulated",
    "collect": "--out store --episodes-per-task 2",
    "compile": "{inputs}/bundle",
    "console": "--task stir --simulated --port 0",
    "convert": "{inputs}/store --to lerobot --out lerobot",
    "demo": "--preset smoke --out demo",
    "doctor": "",
    "evaluate": "--policy {inputs}/bundle --out results",
    "export": "none --out store",
    "finetune": f"{TRAINING} --target {{inputs}}/store",
    "import": "bridge-raw none --out store",
    "inspect": "{inputs}/store --out page",
    "merge": "none",
    "pretrain": f"{TRAINING} --data {{inputs}}/store",
    "record": "--out bags --episodes 2",
    "recover": "none",
    "replay": "none --bundle {inputs}/bundle",
    "report": "none",
    "review": "{inputs}/store --list",
    "select": "none",
    "serve": "{inputs}/bundle --port 0 --act-port 0",
    "session": "run none.yaml --out session",
    "study": "none --prior none --target none --out study",
    "submit": "--cluster local --folder jobs -- collect --out store --episodes-per-task 2",
    "teleop": "--task stir --simulated",
    "up": "record --log log",
    "view": "{inputs}/store --out store.rrd",
}
"""Command line of each verb."""


@dataclass(frozen=True)
class End:
    """How one process ended.

    Attributes:
        kind: The node or verb.
        moment: When it got the signal, after its start [s].
        seconds: Time from the signal to its end [s].
        status: Exit status; negative for a signal.
        killed: Whether it had to be killed.
        output: Everything that it and its nodes printed.
    """

    kind: str
    moment: float
    seconds: float
    status: int
    killed: bool
    output: str

    @property
    def early(self) -> bool:
        """Whether Python itself was still starting; then it shows a traceback."""
        return bool(PYTHONS_START.search(self.output)) and "/ptr_common/" not in self.output

    @property
    def traceback(self) -> bool:
        """Whether it printed a traceback, or crashed, in code of ours."""
        if self.status in CRASHES:
            return True
        return not self.early and TRACEBACK.search(self.output) is not None


def commands(inputs: Path) -> dict[str, list[str]]:
    """Return the command line of every node and verb of ours.

    Args:
        inputs: Folder of a store and a bundle.
    """
    modules = {
        script.name: script.module for script in entry_points(group="console_scripts")
    }
    verbs = sorted(verb.name for verb in entry_points(group="ptr.commands"))
    if sorted(VERBS) != verbs or not set(NODES) < set(modules):
        raise SystemExit(f"verbs are {verbs}; edit VERBS and NODES of {__file__}")
    places = {"inputs": inputs, "config": ROOT / "config" / "train"}
    found = {}
    for node, parameters in NODES.items():
        words = [word.format_map(places) for name in parameters for word in ("-p", name)]
        found[node] = [sys.executable, "-m", modules[node], "--ros-args", *words]
    for verb, text in VERBS.items():
        words = text.format_map(places).split()
        found[f"ptr {verb}"] = [sys.executable, "-m", "ptr_common.cli", verb, *words]
    return found


def _make_inputs(folder: Path) -> None:
    """Write a store and a bundle."""
    sys.path.append(str(ROOT / "src/ptr_policy_node/test"))
    from brightness_bundle import write_brightness_bundle

    command = [sys.executable, str(ROOT / "bench/toy_store.py"), str(folder / "store")]
    subprocess.run([*command, "--episodes", "30", "--size", "64"], check=True)
    write_brightness_bundle(folder / "bundle")


def _default_signals() -> None:
    """Undo what a shell does to a process in the background: it ignores SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def end(kind: str, command: Sequence[str], moment: float, domain: int) -> End:
    """Start a process, interrupt it, and return how it ended.

    Args:
        kind: Its name.
        command: Its command line.
        moment: When it gets the signal, after its start [s].
        domain: Its ROS domain.
    """
    limit = VERB_LIMIT if kind.startswith("ptr ") else NODE_LIMIT
    variables = {**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
    # It starts in another folder, and must find the same code.
    variables["PYTHONPATH"] = os.pathsep.join(
        str(Path(entry).absolute()) for entry in sys.path
    )
    keyboard, terminal = pty.openpty()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / "output.log").open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=variables,
                stdin=terminal,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_default_signals,
            )
            began = time.monotonic()
            time.sleep(max(0.0, moment))
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            seconds = time.monotonic() - sent
            status = process.wait()
        text = ""
        for log in sorted(folder.rglob("*.log")):
            text += log.read_text(errors="replace")
    os.close(keyboard)
    os.close(terminal)
    return End(kind, sent - began, seconds, status, seconds >= limit, text)


@contextmanager
def _load(count: int) -> Iterator[None]:
    """Keep a number of cores busy."""
    burn = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(burn) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _measure(
    chosen: Mapping[str, Sequence[str]], options: argparse.Namespace
) -> dict[str, list[End]]:
    ends: dict[str, list[End]] = {kind: [] for kind in chosen}
    tasks = []
    for kind, command in chosen.items():
        rng = np.random.default_rng([options.seed, zlib.crc32(kind.encode())])
        for moment in rng.uniform(0.0, LATEST.get(kind, USUAL), options.ends):
            tasks.append((kind, command, float(moment)))
    np.random.default_rng(options.seed).shuffle(tasks)
    domains = [domain % 90 + 1 for domain in range(len(tasks))]
    with ThreadPoolExecutor(options.jobs) as pool:
        done = pool.map(end, *zip(*tasks, strict=True), domains)
        for one in tqdm(done, total=len(tasks), unit="end"):
            ends[one.kind].append(one)
    return ends


def table(ends: Mapping[str, Sequence[End]]) -> str:
    """Return a line for each kind, and one of totals."""
    header = ("", "ends", "median [s]", "longest [s]", "killed", "tracebacks", "statuses")
    rows = []
    for kind, of_kind in sorted(ends.items()):
        seconds = [one.seconds for one in of_kind]
        killed = sum(one.killed for one in of_kind)
        shown = sum(one.traceback for one in of_kind)
        statuses = " ".join(map(str, sorted({one.status for one in of_kind})))
        median, longest = f"{np.median(seconds):.2f}", f"{max(seconds):.2f}"
        rows.append((kind, len(of_kind), median, longest, killed, shown, statuses))
    every = [one for of_kind in ends.values() for one in of_kind]
    killed, shown = sum(one.killed for one in every), sum(one.traceback for one in every)
    early = sum(one.early for one in every)
    return (
        f"{text_table(header, rows)}\n{len(every)} ends, {killed} killed, "
        f"{shown} with a traceback or a crash; {early} more in Python's own start"
    )


def main() -> int:
    """Measure and print a table; the outputs with tracebacks go before it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ends", type=int, default=10, help="of each kind [10]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    parser.add_argument("--jobs", type=int, default=2, help="at the same time [2]")
    parser.add_argument("--load", type=int, default=2, help="busy processes beside [2]")
    parser.add_argument(
        "--only", nargs="+", metavar="KIND", help="such as arm_node 'ptr up'"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _load(options.load):
        _make_inputs(Path(folder))
        every = commands(Path(folder))
        chosen = {kind: every[kind] for kind in options.only or every}
        ends = _measure(chosen, options)
    wrong = [
        one for of_kind in ends.values() for one in of_kind if one.killed or one.traceback
    ]
    for one in wrong:
        print(
            f"--- {one.kind}, signal at {one.moment:.2f} s, status {one.status}\n{one.output}"
        )
    print(table(ends))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
