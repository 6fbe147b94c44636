"""The console's node: a person's node whose device is every browser that shows the page.

It commands the arm only while a browser drives. At all other times it is no sender of
commands: it judges what others do, be it a policy or the episodes of another node.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.parameter import Parameter

from ptr_common.errors import PtrError
from ptr_common.managed_node import REAL_TIME, now_ns, parameter, run, to_ns
from ptr_common.names import clean_task
from ptr_common.topics import END_WORDS
from ptr_msgs.msg import ArmState, EpisodeEvent
from widowx_bringup.sim.tasks import TARGET_TASK, TASKS
from widowx_bringup.teleop.coverage import ENOUGH
from widowx_bringup.teleop.mapping import Button
from widowx_bringup.teleop.node import TeleopNode
from widowx_bringup.teleop.watched import VERDICTS

from .access import HOST, PORT, Access
from .browsers import Browsers
from .images import CameraImages, Frame
from .policy_view import PolicyView
from .rollouts import Rollouts
from .server import ConsoleServer
from .session_progress import SessionProgress

VIEW_PERIOD = 0.05
"""Time between two views that the node makes [s]."""

LINES = 40
"""Newest lines for the person that the page shows."""

REASON_LENGTH = 200
"""Longest reason of a verdict, and longest name of a task [characters]."""

UNSETTLING = (Button.HOME, Button.SCENE, Button.AGAIN)
"""Buttons that would disturb an episode of another node."""

STATUS = {
    ArmState.STATUS_OK: "ok",
    ArmState.STATUS_HOLDING: "holding",
    ArmState.STATUS_FAULT: "fault",
}
"""Names of `ArmState.status`."""


class ConsoleNode(TeleopNode):
    """Serves the page.

    Args:
        access: Who may open it; None: this computer alone, or a token of its own.
        options: Arguments of `rclpy.node.Node`.

    Attributes:
        server: The server of the page.
    """

    NAME = "console_node"

    def __init__(self, access: Access | None = None, **options: Any) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=LINES)
        self._line = 0
        self._requests: deque[Callable[[], object]] = deque()
        self._watching: set[str] = set()
        self._speed = 0.0  # of the end effector [m/s]
        self._began = 0.0  # begin of the own episode, on the monotonic clock [s]
        self._view: dict[str, Any] = {}
        self._others: list[str] = []  # nodes that command the arm as well
        self._records = False
        watch = Parameter("watch", value=True)
        options["parameter_overrides"] = [*options.get("parameter_overrides", ()), watch]
        self.browsers = Browsers()
        super().__init__(lambda node: self.browsers, self._say, **options)
        host = parameter(self, "host", HOST, "address that the page is served on")
        port = parameter(self, "port", PORT, "TCP port of the page; 0: any", (0, 65535))
        session = parameter(
            self, "session", "", "folder of a `ptr session` to show; empty: none"
        )
        self._session = SessionProgress(Path(session)) if session else None
        self._images = CameraImages(self)
        self._rollouts = Rollouts(self._on_end)
        self._policy = PolicyView(self, self._rollouts)
        self._make_view()
        self.create_timer(VIEW_PERIOD, self._make_view, clock=REAL_TIME)
        access = access or Access(host)
        self.server = ConsoleServer(self, access, host, port)
        print(f"console: {access.url(self.server.port)}", flush=True)

    def destroy_node(self) -> None:
        """Serve no page any more, and discard a running episode."""
        self.server.close()
        super().destroy_node()

    def _say(self, text: str) -> None:
        """Show a line on the page, and in the terminal."""
        self._line += 1
        self._lines.append((self._line, text.strip()))
        print(text, flush=True)

    # --- for the server, in its thread ----------------------------------------------------

    def view(self, browser: str) -> Mapping[str, Any]:
        """Return the state of the graph as a browser may see it, for JSON."""
        return {**self._view, "me": browser}

    def frames(self) -> list[Frame]:
        """Return the newest image of each camera."""
        return self._images.frames()

    def joined(self, browser: str) -> None:
        """Note a browser that watches from now on."""
        self._watching.add(browser)

    def left(self, browser: str) -> None:
        """Note a browser that is gone; it moves nothing any more."""
        self.browsers.leave(browser)
        self._watching.discard(browser)

    def receive(self, browser: str, message: Mapping[str, Any], view_age: float) -> None:
        """Take a message of a browser; see `page/console.js`.

        Raises:
            ValueError: If it is no message of the page.
        """
        if "motion" in message:
            self.browsers.hold(browser, _motion(message["motion"]), view_age)
        elif "press" in message:
            button = Button(message["press"])
            reason = _text(message.get("reason", ""))
            self._requests.append(partial(self._pressed, browser, button, reason))
        elif message.get("drive") is True:
            self._requests.append(partial(self._drive, browser))
        elif message.get("drive") is False:
            self.browsers.leave(browser)
        elif "task" in message:
            self._requests.append(partial(self._set_task, _text(message["task"])))
        else:
            raise ValueError(f"no message of the page: {sorted(message)}")

    # --- what browsers ask for, in the thread of the node -------------------------------------

    def _poll(self) -> None:
        while self._requests:
            self._requests.popleft()()
        super()._poll()
        busy = self.watches or self.episode or self.beginning.awaited
        if not (busy or self.browsers.driver):
            self._stand_back()

    def _look(self) -> None:
        if not self.task and self.scene.is_present:
            self.task = self._rollouts.task or TARGET_TASK
        super()._look()
        self._images.look(bool(self._watching))
        self._others = self.commands.others()
        self._records = self.link.has_recorder()

    def _greet(self) -> None:
        """Leave the scene as it is: somebody may be at work in it."""

    def _stand_back(self) -> None:
        """Be no sender of commands: from now on somebody else may move the arm."""
        self.watches = True
        self.commands.close()

    def _drive(self, browser: str) -> None:
        """Let a browser move the arm, unless something else does."""
        if others := self.commands.others():
            self._say(f"not driven from here: {', '.join(others)} commands the arm")
        elif self.watches and self.episode:
            self._say("not driven from here: the rollout that runs is another sender's")
        elif problem := self.browsers.take(browser, time.monotonic()):
            self._say(f"not driven by {browser}: {problem}")
        else:
            if self.watches and self.link.state is not None:
                self.mapper.gripper = float(self.link.state.proprio[6] > 0.5)
            self.watches = False
            self.commands.open()
            self._say(f"{browser} drives the arm")

    def _pressed(self, browser: str, button: Button, reason: str) -> None:
        """Do what a browser's button asks for."""
        driver = self.browsers.driver
        if button == Button.QUIT:
            self._say("Ctrl-C ends the console, in its terminal")
        elif button != Button.STOP and driver not in ("", browser):
            self._say(f"{driver} drives; take over first. Only STOP is for everybody")
        elif not self.episode and button in VERDICTS and self._other():
            self.rollouts.judge_other(button, reason)
        elif not self.episode and self._rollouts.running and button in UNSETTLING:
            self._say(f"not now: {self._rollouts.running.name} of another node is running")
        else:
            self.reason = reason if self.episode and button in VERDICTS else self.reason
            self.browsers.press(button)

    def _other(self) -> str:
        """Return the rollout of another node that waits for a verdict; empty without one."""
        running = self._rollouts.running
        if running is not None and not self.rollouts.other:
            self.rollouts.begun(running.name, running.task)  # before this node's time
        return self.rollouts.other

    def _set_task(self, task: str) -> None:
        """Have the next episodes be of another task."""
        if self.episode or self.beginning.awaited:
            self._say("the task stays as it is: an episode is running")
            return
        try:
            name = self.scene.known_task(task) if self.beginning.simulated else task
        except PtrError as error:
            self._say(str(error))
            return
        self.task = self.beginning.task = name
        self._set.change_task(name)
        if self.beginning.simulated:
            self.beginning.draw_scene()

    # --- episodes -------------------------------------------------------------------------

    def _why_not(self) -> str:
        if not self.episode and self._rollouts.running is not None:
            return f"the episode {self._rollouts.running.name} of another node is running"
        if not self.task:
            return "the task has no name yet"
        if self.watches and not self.commands.others():
            return "nothing would move the arm: drive it, or start a policy"
        return super()._why_not()

    def _start(self) -> None:
        super()._start()
        self._began = time.monotonic()

    def _on_episode_event(self, event: EpisodeEvent) -> None:
        super()._on_episode_event(event)
        self._rollouts.on_event(event)

    def _on_end(self, event: EpisodeEvent) -> None:
        """Note the end of an episode by another node, also of one that was begun here."""
        verdict = END_WORDS.get(event.event, "ended")
        reason = f": {event.text}" if event.text else ""
        if event.episode_id == self.episode:
            if event.event == EpisodeEvent.SUCCESS and not self.watches:
                self._set.add(self._steps)
            self._close_episode(f"{verdict}, by another node{reason}")
        elif not event.text.startswith("teleoperation"):
            self._say(f"{event.episode_id}: {verdict}{reason}")

    # --- what the page shows --------------------------------------------------------------

    def _on_state(self, state: ArmState) -> None:
        before = self.link.state
        super()._on_state(state)
        if before is not None:
            seconds = (to_ns(state.header.stamp) - to_ns(before.header.stamp)) * 1e-9
            path = np.linalg.norm(np.subtract(state.proprio[:3], before.proprio[:3]))
            if seconds > 0:
                self._speed += 0.3 * (float(path) / seconds - self._speed)

    def _make_view(self) -> None:
        """Make what the page shows, for the thread of the server, while anybody looks."""
        if self._view and not self._watching:
            return
        session = self._session.view() if self._session is not None else None
        blind = bool(session and session.get("blind"))
        policy = self._policy.view()
        if policy and blind:  # Q and the bundle's name would tell the methods apart
            policy = {"status": policy["status"], "task": policy["task"], "hidden": True}
        self._view = {
            "task": self.task,
            "tasks": sorted(TASKS) if self.beginning.simulated else [],
            "simulated": self.beginning.simulated,
            "arm": self._arm_view(),
            "missing": self.link.missing(),
            "image_age": self._image_age(),
            "policy": policy,
            "episode": self._episode_view(),
            "awaited": self.beginning.awaited,
            "set": self._set_view(),
            "drive": self._drive_view(),
            "lines": list(self._lines),
            "session": session,
        }

    def _arm_view(self) -> dict[str, Any] | None:
        state = self.link.state
        if state is None:
            return None
        return {
            "status": STATUS.get(state.status, "?"),
            "reason": state.reason,
            "proprio": [round(float(value), 4) for value in state.proprio],
            "speed": round(self._speed, 3),
            "clipped": state.clipped,
            "held": state.held,
            "rejected": state.rejected,
        }

    def _image_age(self) -> float | None:
        if not self.link.image_ns:
            return None
        return round((now_ns(self) - self.link.image_ns) * 1e-9, 3)

    def _episode_view(self) -> dict[str, Any] | None:
        if self.episode:
            seconds = time.monotonic() - self._began
            return {"name": self.episode, "seconds": seconds, "own": True}
        running = self._rollouts.running
        if running is not None:
            seconds = time.monotonic() - running.began
            return {"name": running.name, "seconds": seconds, "own": False}
        if name := self.rollouts.other:  # it ended by STOP, and waits for a verdict
            return {"name": name, "own": False, "over": True}
        return None

    def _set_view(self) -> dict[str, Any]:
        return {
            "count": len(self.demonstrations),
            "enough": ENOUGH,
            "rollouts": [sum(self.rollouts.verdicts), len(self.rollouts.verdicts)],
            "recorder": self._records,
        }

    def _drive_view(self) -> dict[str, Any]:
        return {
            "driver": self.browsers.driver,
            "others": self._others,
            "moving": self._input.held,
            "speed": round(self.mapper.speed, 3),
            "gripper": self.mapper.gripper,
        }


def _motion(values: object) -> list[float]:
    """Return a wanted motion; raises ValueError if it is none."""
    if not isinstance(values, list) or len(values) != 6:
        raise ValueError("a motion has six numbers")
    motion = [float(value) for value in values]
    if not np.isfinite(motion).all():
        raise ValueError("a motion has six finite numbers")
    return motion


def _text(value: object) -> str:
    """Return a person's text; raises ValueError if it is none, or too long."""
    if not isinstance(value, str) or len(value) > REASON_LENGTH:
        raise ValueError(f"a text has at most {REASON_LENGTH} characters")
    return clean_task(value)


def main() -> int:
    """Run the console of a graph."""
    return run(ConsoleNode)


if __name__ == "__main__":
    sys.exit(main())
