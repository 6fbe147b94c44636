"""Work at the console as a person does: a real browser, its keys and buttons and nothing else.

The graph of `ptr up record teleop:=none console:=true` runs with a simulated arm; Chromium opens
the console's page, presses "Drive the arm", and holds keys. Which ones, the scripted expert says,
which knows the scene; only the keys reach the arm. Counts what was saved, and takes pictures.
With `--session PLAN` (whose judge is a person) it presses Success and Failure in a console beside
`ptr session run`, which it kills twice and starts again.

    .venv/bin/pip install playwright       # it drives the Chromium of this computer
    .venv/bin/python bench/console_operator.py --demonstrations 3 --out OUT
    .venv/bin/python bench/console_operator.py --session PLAN --kills 2 --out OUT
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from widowx_bringup.sim.world import World

TASK = "put the yellow cube on the white plate"
KEYS = (("w", "s"), ("a", "d"), ("r", "f"), ("o", "u"), ("k", "i"), ("j", "l"))
"""Keys of each dimension of the motion: forth and back."""

SPEED = 0.4
"""Of the console when it starts, as a fraction of the longest step."""

DOMAIN = "87"
"""ROS domain of the graph."""

PAGE = "http://127.0.0.1:8080/"

START_LIMIT = 90.0
"""Longest time until the page is served [s]."""

LIMIT = 120.0
"""Longest time of a demonstration [s]."""


class Scene:
    """What the graph says of the scene, for the one who presses the keys.

    Args:
        task: Task of the demonstrations.
    """

    def __init__(self, task: str) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import JointState
        from std_srvs.srv import Trigger

        from ptr_common import qos
        from ptr_msgs.msg import ArmState
        from widowx_bringup.sim.tasks import expert
        from widowx_bringup.sim.world import World

        rclpy.init()
        self._world: World = World()
        self._expert = expert(self._world, task)
        self._lock = threading.Lock()
        self._state: JointState | None = None
        self._arm: ArmState | None = None
        self._node = rclpy.create_node("onlooker", namespace="wx250s")
        self._node.create_subscription(JointState, "sim/world", self._on_world, qos.STATE)
        self._node.create_subscription(ArmState, "arm/state", self._on_arm, qos.STATE)
        self._outcome = self._node.create_client(Trigger, "sim/outcome")
        self._answer: Any = None
        self._solved = False
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        threading.Thread(target=self._executor.spin, daemon=True).start()

    def _on_world(self, message: Any) -> None:
        with self._lock:
            self._state = message

    def _on_arm(self, message: Any) -> None:
        with self._lock:
            self._arm = message

    def wanted(self) -> tuple[np.ndarray, bool]:
        """Return the expert's next action, shape (7,), and whether the task is solved.

        The simulation says the latter: an object that still rolls is not placed.
        """
        with self._lock:
            state, arm = self._state, self._arm
        if state is None or arm is None:
            return np.zeros(7), False
        self._world.set_state(np.asarray(state.position), state.header.frame_id)
        return self._expert(np.asarray(arm.proprio)), self.solved()

    def solved(self) -> bool:
        """Return the newest answer of the simulation, and ask again."""
        from std_srvs.srv import Trigger

        if self._answer is None or self._answer.done():
            if self._answer is not None:
                self._solved = bool(self._answer.result().success)
            self._answer = self._outcome.call_async(Trigger.Request())
        return self._solved

    def begin(self) -> None:
        """Forget what was said of the scene before."""
        self._answer, self._solved = None, False


class Hands:
    """Hold the keys of a page.

    Args:
        page: Of the console.
    """

    def __init__(self, page: Any) -> None:
        self._page = page
        self._down: set[str] = set()

    def hold(self, keys: set[str]) -> None:
        """Hold these keys and no others."""
        for key in self._down - keys:
            self._page.keyboard.up(key)
        for key in keys - self._down:
            self._page.keyboard.down(key)
        self._down = keys


def keys_for(action: np.ndarray) -> set[str]:
    """Return the keys whose step, at the console's speed, comes near an action."""
    from ptr_common.action_space import ACTION_HIGH

    held = set()
    for dimension, (forth, back) in enumerate(KEYS):
        share = action[dimension] / (SPEED * ACTION_HIGH[dimension])
        if abs(share) > 0.4:
            held.add(forth if share > 0 else back)
    return held


def demonstrate(page: Any, scene: Scene) -> bool:
    """Solve the task by keys; return whether it was solved in time."""
    hands = Hands(page)
    scene.begin()
    closed = False
    end = time.monotonic() + LIMIT
    try:
        while time.monotonic() < end:
            action, solved = scene.wanted()
            if solved:
                return True
            if (action[6] < 0.5) != closed:
                hands.hold(set())
                page.keyboard.press("g")
                closed = not closed
            hands.hold(keys_for(action))
            page.wait_for_timeout(100)
    finally:
        hands.hold(set())
    return False


def operate(page: Any, scene: Scene, demonstrations: int, out: Path) -> None:
    """Record demonstrations as a person would, and take pictures."""
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_contain_text("arm ok", timeout=60_000)
    page.get_by_role("button", name="Drive the arm").click()
    expect(page.locator("#drive-state")).to_contain_text("you drive")
    saved = tries = 0
    while saved < demonstrations and tries < 3 * demonstrations:
        tries += 1
        begin = time.monotonic()
        page.keyboard.press("1")
        expect(page.locator("#episode")).to_contain_text("● running", timeout=60_000)
        solved = demonstrate(page, scene)
        page.screenshot(path=str(out / f"demonstration_{tries}.png"))
        page.keyboard.press("2" if solved else "4")
        saved += solved
        expect(page.locator("#meter-label")).to_contain_text(
            f"{saved} of 10 demonstrations", timeout=60_000
        )
        expect(page.locator("#episode")).to_contain_text("no episode", timeout=60_000)
        words = "saved" if solved else "discarded"
        print(f"try {tries}: {words} after {time.monotonic() - begin:.0f} s", flush=True)
    print(page.locator("#lines").inner_text())
    if saved < demonstrations:
        raise SystemExit(f"{saved} of {demonstrations} demonstrations in {tries} tries")


def attend(page: Any, scene: Scene, plan: Path, out: Path, kills: int) -> None:
    """Judge every trial of a session on the page; kill it now and then, and start it again.

    Args:
        page: Of a console beside the session.
        scene: Says when a trial is solved.
        plan: Of the session, with `judge: person`.
        out: Receives log and pictures.
        kills: How often `ptr session` is killed in the midst of a trial.
    """
    verdicts = starts = 0
    rng = np.random.default_rng(0)
    waits = [int(rng.integers(3, 9)) for _ in range(kills)]
    while True:
        starts += 1
        words = ["session", "run", str(plan), "--out", str(out / "session")]
        with (out / "session.log").open("ab") as log:
            process = start([*words, "--real-time-factor", "2"], log)
            verdicts += judge_trials(page, scene, process, waits.pop() if waits else None)
        status = process.wait()
        print(
            f"start {starts}: ended with {status}, {verdicts} verdicts so far", flush=True
        )
        page.screenshot(path=str(out / f"session_{starts}.png"), full_page=True)
        if status != -signal.SIGKILL:
            break
    for verb in ("report", "check", "unblind", "status"):
        start(["session", verb, str(out / "session")]).wait()
    page.wait_for_timeout(3000)
    page.screenshot(path=str(out / "session_unblinded.png"), full_page=True)


def judge_trials(
    page: Any, scene: Scene, process: subprocess.Popen[bytes], kill_after: int | None
) -> int:
    """Press the buttons of the page while a session runs; return how many verdicts were given.

    Args:
        page: Of the console.
        scene: Says when a trial is solved.
        process: The session.
        kill_after: Number of verdicts after which it is killed in the next trial; None: never.
    """
    trial, given = "", 0
    while process.poll() is None:
        text = page.locator("#episode").inner_text()
        found = re.search(r"trial_\w+", text)
        if found and found[0] != trial:
            trial, judged = found[0], False
            scene.begin()
            if given == kill_after:
                process.kill()
        elif (
            found and not judged and (over := "without a verdict" in text) | scene.solved()
        ):
            name = "Failure" if over else "Success"
            if over:
                page.locator("#reason").fill("out of time")
            page.get_by_role("button", name=name).click()
            judged, given = True, given + 1
        page.wait_for_timeout(200)
    return given


def start(words: list[str], log: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a command of `ptr`."""
    command = [sys.executable, "-m", "ptr_common.cli", *words]
    return subprocess.Popen(command, stdout=log, stderr=log)


@contextlib.contextmanager
def running(words: list[str], out: Path) -> Iterator[None]:
    """Run a command of `ptr`, as a person does, and end it by Ctrl-C."""
    with (out / f"{words[0]}.log").open("wb") as log:
        process = start(words, log)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            print(f"ptr {words[0]} ended with {process.wait(30)}")


def open_page(browser: Any) -> Any:
    """Return the console's page, as soon as it is served."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    end = time.monotonic() + START_LIMIT
    while True:
        try:
            page.goto(PAGE)
        except Exception:  # refused: the node does not listen yet
            if time.monotonic() > end:
                raise
            page.wait_for_timeout(300)
        else:
            return page


def main() -> None:
    """Start the graph, then the browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demonstrations", type=int, default=3)
    parser.add_argument(
        "--session", type=Path, help="judge the trials of this plan instead"
    )
    parser.add_argument("--kills", type=int, default=2, help="of the session")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    os.environ |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": DOMAIN}
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("playwright is not installed: .venv/bin/pip install playwright")
    if browser is None:
        sys.exit("Chromium is not installed: apt install chromium")
    options.out.mkdir(parents=True, exist_ok=True)
    words = ["up", "record", "teleop:=none", "console:=true", f"scene:={TASK}"]
    words += [f"demonstrated:={TASK}", f"bag_directory:={options.out / 'bags'}"]
    if options.session:
        words = ["console", "--task", TASK, "--session", str(options.out / "session")]
    with running(words, options.out), sync_playwright() as driver:
        scene = Scene(TASK)
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = open_page(chromium)
        if options.session:
            attend(page, scene, options.session, options.out, options.kills)
        else:
            operate(page, scene, options.demonstrations, options.out)
        chromium.close()


if __name__ == "__main__":
    main()
