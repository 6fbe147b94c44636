"""A connection to a graph that a test plays, for what runs episodes on one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.node import to_stamp
from ptr_msgs.msg import ArmState, EpisodeEvent
from widowx_bringup.arm.refusal import Kind
from widowx_bringup.graph.connection import EpisodeError

STEP_NS = round(1e9 / CONTROL_RATE)
"""Time that passes whenever somebody waits [ns]."""


class PlayedGraph:
    """A graph in which a command is executed, and time passes, whenever somebody waits.

    Args:
        folder: Receives the bags.
        simulated: Whether the arm is simulated.

    Attributes:
        at: What happens at a step of an episode: a function by the number of the step.
        offsets: Added to the pose of the arm after each motion, in turn; the last one stays.
        called: Names of the services that were called.
    """

    def __init__(self, folder: Path, *, simulated: bool = False) -> None:
        self.values = {
            "bag_directory": str(folder),
            "use_sim": str(simulated).lower(),
            "camera": "front",
        }
        self.image_topic = "camera/front/camera_info"
        self.records = True
        self.executed_ns: list[int] = []
        self.ends: list[EpisodeEvent] = []
        self.events: list[tuple[int, str]] = []
        self.policy_waited = False
        self.state = ArmState(status=ArmState.STATUS_OK)
        self.hold = Kind.CAMERA
        self.at: dict[int, Callable[[], object]] = {}
        self.offsets = [np.zeros(7)]
        self.called: list[str] = []
        self.refuses = ""
        self.served: dict[str, Callable[[], str]] = {}
        self.image: np.ndarray | None = None
        self._episode = ""
        self._time_ns = 0

    def judge(self, event: int, text: str = "") -> None:
        """Let somebody publish an event that ends the running episode."""
        end = EpisodeEvent(episode_id=self._episode, event=event, text=text)
        end.header.stamp = to_stamp(self._time_ns)
        self.ends.append(end)
        if event != EpisodeEvent.DISCARD:
            bag = Path(self.values["bag_directory"]) / self._episode
            bag.mkdir(parents=True, exist_ok=True)

    def execute(self) -> None:
        """Let a step be executed while somebody waits."""
        self.executed_ns.append(self._time_ns)

    def hold_arm(self, kind: Kind, reason: str) -> None:
        """Let the arm hold."""
        self.hold = kind
        self.state.status, self.state.reason = ArmState.STATUS_HOLDING, reason

    # --- as GraphConnection has it --------------------------------------------------------

    def now_ns(self) -> int:
        return self._time_ns

    @property
    def executed(self) -> int:
        return len(self.executed_ns)

    def executed_until(self, stamp_ns: int) -> int:
        return sum(stamp <= stamp_ns for stamp in self.executed_ns)

    def restart_count(self) -> None:
        self.executed_ns.clear()

    def hold_kind(self, held: int) -> str:
        return self.hold.value

    def arm_state(self) -> ArmState:
        return self.state

    def publish_event(self, episode_id: str, event: int, task: str, text: str) -> int:
        self.events.append((event, text))
        if event == EpisodeEvent.START:
            self._episode, self.ends = episode_id, []
        else:
            self.judge(event, text)  # it is heard here as well
        return self._time_ns

    def reset_scene(self, task: str, seed: int) -> Any:
        self.called.append("sim/reset")
        return SimpleNamespace(success=True, message="")

    def outcome(self) -> bool:
        return False

    def client(self, kind: Any, name: str) -> str:
        return name

    def call(self, client: str, request: Any, timeout: float = 0.0) -> Any:
        self.called.append(client)
        if client == "arm/hold":
            self.hold_arm(Kind.OPERATOR, "stopped by the operator")
        if client == "arm/enable":
            self.state.status, self.state.reason = ArmState.STATUS_OK, ""
        if client.startswith("arm/go_to"):
            pose = np.array([*getattr(request, "pose", (0.3, 0, 0.15, 0, 0, 0)), 1.0])
            self.state.proprio = pose + self.offsets[0]
            self.offsets = self.offsets[1:] or self.offsets
        return SimpleNamespace(success=not self.refuses, message=self.refuses or "done")

    def serve(self, name: str, on_call: Callable[[], str]) -> None:
        self.served[name] = on_call

    @contextlib.contextmanager
    def newest_image(self) -> Iterator[Callable[[], np.ndarray | None]]:
        yield lambda: self.image

    def wait_for_message(self, topic: str, timeout: float, *, fresh: bool = False) -> None:
        assert fresh

    def wait(self, condition: Callable[[], Any], timeout: float, problem: str) -> Any:
        for _ in range(200):
            if result := condition():
                return result
            self._time_ns += STEP_NS
            self.execute()
            self.at.pop(self.executed, lambda: None)()
            if timeout < 1.0:
                break
        raise EpisodeError(problem)
