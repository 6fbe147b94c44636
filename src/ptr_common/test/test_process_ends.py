"""Processes of ours end in time and quietly, whatever hangs and whenever Ctrl-C comes."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from ptr_common import PROGRAMS

NODE = """
import ctypes, threading
from rclpy.node import Node
from ptr_common import managed_node
from ptr_common.process import end_limit

# Where the end itself is to hang, a slow destruction must not be ended before it.
end_limit.LATEST_END = 60.0 if "WHERE" == "the end" else 0.3
end_limit.LATEST_KILL = 1.0
mutex = ctypes.create_string_buffer(64)

def hang(where):
    if where == "WHERE" and "LOCKED":  # with Python's lock held, as a middleware may
        while True:
            ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    elif where == "WHERE":
        threading.Event().wait()

class Stuck(Node):
    def __init__(self):
        super().__init__("stuck")
        self.timer = self.create_timer(0.01, self.tick)

    def tick(self):
        self.timer.cancel()
        print("here", flush=True)
        hang("a callback")

    def destroy_node(self):
        if "WHERE" == "destruction":
            with managed_node.end_limit.paused():
                print("work done", flush=True)
        hang("destruction")
        super().destroy_node()

managed_node.run(Stuck)
hang("the end")
"""
"""A node that waits for ever somewhere."""


def interrupted(code: str, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    """Run a program until it prints "here", send a signal; return status, output and errors."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("where", "locked", "status"),
    [
        ("a callback", "", {1}),
        ("a callback", "yes", {1, -signal.SIGKILL}),  # 1: before it took the lock
        ("destruction", "yes", {1}),
        ("the end", "yes", {-signal.SIGKILL}),
    ],
)
def test_a_node_that_hangs_is_ended_without_a_traceback(
    where: str, locked: str, status: set[int], number: signal.Signals
) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    code = NODE.replace("WHERE", where).replace("LOCKED", locked)
    returned, out, errors = interrupted(code, number)
    assert returned in status
    assert out == ("work done\n" if where == "destruction" else "")
    assert "Traceback" not in errors
    assert "Thread" not in errors


def test_every_program_of_ours_has_a_name_by_which_it_is_known() -> None:
    names = {"ptr"}
    for script in entry_points(group="console_scripts"):
        if script.module.split(".")[0] in ("ptr_policy_node", "widowx_bringup"):
            names.add(script.name)
    if len(names) == 1:
        pytest.skip("only ptr_common is installed")
    assert names == PROGRAMS


IMPORTS = """
import sys
sys.argv = ARGV
import ptr_common
print("here", flush=True)
while True:
    exec("import decimal"); [sys.modules.pop(name) for name in ("decimal", "_decimal")]
"""


@pytest.mark.parametrize("program", ["-m", "/anywhere/bin/ptr", "arm_node"])
def test_ctrl_c_during_the_imports_of_a_program_of_ours_shows_nothing(program: str) -> None:
    status, _, errors = interrupted(IMPORTS.replace("ARGV", repr([program])))
    assert (status, errors) == (-signal.SIGINT, "")


def test_ctrl_c_in_a_program_of_others_that_imports_us_raises_as_before() -> None:
    status, _, errors = interrupted(IMPORTS.replace("ARGV", "['pytest']"))
    assert status != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")


LOST = """
import sys, time
sys.argv = ["ptr"]
from ptr_common.process import interrupts

interrupts.raise_again()

class Slow:
    def __del__(self):
        print("here", flush=True)
        while not interrupts.received():
            time.sleep(0.01)

try:
    Slow()
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_in_a_destructor_is_not_lost() -> None:
    assert interrupted(LOST) == (130, "", "")


IMPORTED = """
import sys
sys.argv = ["ptr"]
from ptr_common import cli
from ptr_common.process import interrupts
from ptr_common.verbs import Verb

class Entry:
    def load(self):
        return work

def work(arguments):
    print("here", flush=True)
    try:
        while True:
            pass
    except KeyboardInterrupt as error:  # as a module in C does
        raise ImportError("initialization failed") from error

sys.exit(cli._run(Verb("work", "ptr_common", Entry()), []))
"""


def test_ctrl_c_that_a_half_imported_module_turns_into_another_error_is_an_interrupt() -> (
    None
):
    assert interrupted(IMPORTED) == (130, "", "ptr work: interrupted\n")


VERB = """
import sys, threading
sys.argv = ["ptr"]
from importlib.metadata import EntryPoint
from ptr_common import cli
from ptr_common.verbs import Verb

cli.LATEST_EXIT = cli.LATEST_UNWINDING = 0.3

def main(arguments):
    threading.Thread(target=threading.Event().wait).start()  # the process cannot exit
    print("here", flush=True)
    threading.Event().wait()

verb = Verb("hang", "ptr_common", EntryPoint("hang", "__main__:main", "ptr.commands"))
cli.find_verbs = lambda: {"hang": verb}
sys.exit(cli.main(["hang"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_verb_that_cannot_exit_is_ended_after_a_signal(number: signal.Signals) -> None:
    status, _, errors = interrupted(VERB, number)
    assert status == 1
    assert "Thread" not in errors


TWO_NODES = """
import signal
from rclpy.node import Node
from ptr_common import managed_node
from ptr_common.process import end_limit

end_limit.LATEST_KILL = 0.5

class Brief(Node):
    def __init__(self):
        super().__init__("brief")
        self.create_timer(1.0, self.tick)

    def tick(self):
        print("ticks", flush=True)
        signal.raise_signal(signal.SIGINT)

managed_node.run(Brief)
managed_node.run(Brief)
"""
"""One node after another, as `ptr teleop` has them where it finds a simulated graph; the second
one lives longer than the first one may take to end."""


def test_a_process_may_run_one_node_after_another() -> None:
    program = [sys.executable, "-c", TWO_NODES]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ticks\nticks\n"
