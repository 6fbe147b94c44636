"""The set of demonstrations of a task: those of this session, and those in the folder already."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from ptr_common import qos
from ptr_common.node import subscribe
from ptr_common.topics import TOPIC_DIAGNOSTICS

from .coverage import Demonstration, read_demonstrations


class DemonstrationSet:
    """Demonstrations in the order of recording.

    Those that are in the recorder's folder already come first; the folder is on /diagnostics.

    Args:
        node: The person's node.
        show: Receives messages for the person.

    Attributes:
        demonstrations: The set.
        task: Name of their task.
        recording: Whether an episode is running.
    """

    def __init__(self, node: Node, task: str, show: Callable[[str], object]) -> None:
        self.demonstrations: list[Demonstration] = []
        self.task = task
        self.recording = False
        self._node = node
        self._show = show
        self._bags: Path | None = None  # the recorder's folder, once it is known
        self._warning = ""  # of the recorder
        self._known = 0  # demonstrations that are in that folder as well
        self._earlier: list[Demonstration] = []  # read from that folder, not yet in the set
        subscribe(node, DiagnosticArray, TOPIC_DIAGNOSTICS, self._on_diagnostics, qos.STATE)

    @property
    def folder(self) -> Path | None:
        """Folder of the bags, as the recorder says it; None before it has."""
        return self._bags

    def change_task(self, task: str) -> None:
        """Hold the demonstrations of another task from now on."""
        self.task = task
        self.demonstrations, self._earlier = [], []
        self._bags = None  # read anew

    def add(self, steps: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Add a demonstration.

        Args:
            steps: Proprioception and action, (7,) each, of its steps.
        """
        if steps:
            proprio = np.array([step[0] for step in steps])
            actions = np.array([step[1] for step in steps])
            self.demonstrations.append(Demonstration(proprio, actions))

    def check(self) -> None:
        """Add the earlier demonstrations once they are read; for the node's thread."""
        if not self._earlier:
            return
        earlier = self._earlier
        self._earlier = []
        self.demonstrations = [*earlier, *self.demonstrations[self._known :]]
        self._show(f"{len(earlier)} demonstrations were already in {self._bags}")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        """Read the earlier demonstrations once the recorder has published its folder.

        What the recorder warns of during an episode is said aloud, once: it may not record it.
        """
        recorder = f"{self._node.get_namespace().rstrip('/')}/recorder_node"
        for status in message.status:
            if status.name != recorder:
                continue
            warning = status.message if status.level != DiagnosticStatus.OK else ""
            if not self.recording:
                warning = ""  # a recorder that starts lacks all topics for a moment
            if warning and warning != self._warning:
                self._show(f"the recorder warns: {warning}")
            self._warning = warning
            if self._bags is None:
                values = {entry.key: entry.value for entry in status.values}
                self._bags = Path(values.get("directory", ""))
                self._known = len(self.demonstrations)
                threading.Thread(
                    target=self._read_earlier, name="earlier bags", daemon=True
                ).start()

    def _read_earlier(self) -> None:
        task, folder = self.task, self._bags
        assert folder is not None
        earlier = read_demonstrations(folder, task)
        if task == self.task:
            self._earlier = earlier
