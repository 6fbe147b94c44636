"""The scene of a simulated graph, as a person's node draws it and asks for its outcome."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from std_srvs.srv import Trigger

from ptr_common.names import find_task
from ptr_msgs.srv import ResetScene
from widowx_bringup.sim.tasks import TASKS, parse_task

from .calls import Answer, Calls

SEEDS = 10**6
"""Number of scenes that are drawn from; short seeds are easy to read aloud."""


class SimulatedScene:
    """Scenes and outcomes of the simulation, if the graph has one.

    Args:
        node: The person's node.
        calls: Carries out the calls.

    Attributes:
        seed: Seed of the scene that was drawn last.
        recorded: Whether that scene was recorded already; the next recording needs another.
    """

    def __init__(self, node: Node, calls: Calls) -> None:
        self._calls = calls
        self._reset = node.create_client(ResetScene, "sim/reset")
        self._outcome = node.create_client(Trigger, "sim/outcome")
        self._random = np.random.default_rng()
        self.seed = 0
        self.recorded = True

    @property
    def is_present(self) -> bool:
        """Whether the graph is simulated: it offers scenes."""
        return self._reset.service_is_ready()

    def known_task(self, task: str) -> str:
        """Return the simulation's name of a task.

        Raises:
            TaskError: If there is no such task; the message has the nearest name.
        """
        return parse_task(find_task(task, TASKS) or task).name

    def draw(self) -> None:
        """Choose another scene."""
        self.seed = int(self._random.integers(SEEDS))
        self.recorded = False

    def set_up(self, task: str, on_answer: Callable[[Answer], object]) -> None:
        """Set up the scene of `seed`, as it was before anything moved.

        Args:
            task: Name of a simulated task.
            on_answer: Receives the simulation's answer.
        """
        request = ResetScene.Request(task=task, seed=self.seed)
        self._calls.ask(self._reset, request, on_answer)

    def ask_outcome(self, on_answer: Callable[[Answer], object]) -> None:
        """Ask whether the task is solved.

        Args:
            on_answer: Receives the simulation's answer; `success`: it is solved.
        """
        self._calls.ask(self._outcome, Trigger.Request(), on_answer)
