"""From the button to the START of an episode: the arm comes to rest, the scene is set up."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from rclpy.parameter import Parameter

from ptr_common.managed_node import now_ns, to_ns
from ptr_msgs.msg import ArmState

from .arm_link import SETTLED_NS, ArmLink
from .calls import Answer
from .scene import SimulatedScene

BEGIN_LIMIT = 60.0
"""Longest wait between the button and the START [s]."""

SCENE_PAUSE_NS = 1_000_000_000
"""Simulated time between the end of an episode and the next scene [ns].

The bag of the episode ends with the old scene.
"""


class EpisodeStart:
    """Waits until an episode may start, and sets up its scene in a simulated graph.

    Args:
        node: The person's node.
        link: Its view of arm and camera.
        scene: The scenes of a simulated graph.
        show: Receives messages for the person.
        start: Starts an episode.

    Attributes:
        task: Name of the task.
        simulated: Whether the graph is simulated; known once it is found.
        awaited: What the start waits for; empty if none was asked for.
    """

    def __init__(
        self,
        node: Node,
        link: ArmLink,
        scene: SimulatedScene,
        show: Callable[[str], object],
        start: Callable[[], object],
    ) -> None:
        self.task = ""
        self.simulated = False
        self.awaited = ""
        self._node = node
        self._link = link
        self._scene = scene
        self._show = show
        self._start = start
        self._deadline = 0.0  # of the start [s]
        self._fresh_ns = 0  # state and image stamped later than this show the scene
        self._scenes_asked = 0  # scenes that the simulation has not answered yet
        self._shown_seed: int | None = None
        self._next_scene_ns: int | None = None  # when the next scene is drawn; None: not

    # --- the simulation -------------------------------------------------------------------

    def recognise(self, task: str) -> bool:
        """Follow clock and scenes of the simulation, once the graph has one.

        Args:
            task: Name of the task, as the person wrote it.

        Returns:
            Whether the graph turned out to be simulated just now; `task` has its name.

        Raises:
            TaskError: If the simulation has no such task.
        """
        if self.simulated or not self._scene.is_present:
            return False
        self.task = self._scene.known_task(task)
        self.simulated = True
        self._node.set_parameters([Parameter("use_sim_time", value=True)])
        self._link.forget_motion()  # its times are of the other clock
        self._show("the graph is simulated: its clock counts, and it sets up the scenes")
        return True

    def draw_scene(self) -> None:
        """Draw and set up a new scene."""
        self._next_scene_ns = None
        if not self.simulated:
            self._show("only a simulated graph draws scenes")
            return
        self._scene.draw()
        self._set_up_scene()

    def draw_scene_later(self) -> None:
        """Draw the next scene once the bag of the present one is complete."""
        if self.simulated:
            self._next_scene_ns = now_ns(self._node) + SCENE_PAUSE_NS

    def _set_up_scene(self) -> None:
        """Set up the scene of the present seed, as it was before anything moved."""
        seed = self._scene.seed
        self._scenes_asked += 1

        def answered(answer: Answer) -> None:
            self._scenes_asked -= 1
            self._fresh_ns = now_ns(self._node) + SETTLED_NS
            if not answer.success:
                self._scene.recorded = True  # the next recording draws another one
                self._show(f"no scene: {answer.message}")
                self.give_up("the simulation sets up no scene")
            elif seed != self._shown_seed:
                self._shown_seed = seed
                self._show(f"scene {seed}: {self.task}")

        self._scene.set_up(self.task, answered)

    # --- the start ------------------------------------------------------------------------

    def begin(self) -> None:
        """Start an episode once scene and arm are ready."""
        if self.simulated:
            if self._scene.recorded:
                self._scene.draw()
            self._wait_for("the scene")
            self._set_up_scene()
        elif self._link.moves:
            self.wait_for_arm()
            self._show(f"waiting for {self.awaited}, then it is recorded; 4 gives up")
        else:
            self._start()

    def repeat(self) -> None:
        """Start an episode in the same scene once more."""
        self._scene.recorded = False
        self.begin()

    def wait_for_arm(self) -> None:
        """Start an episode once the arm is at its start pose."""
        self._wait_for("the arm to be at its start pose")

    def _wait_for(self, awaited: str) -> None:
        self.awaited = awaited
        self._deadline = time.monotonic() + BEGIN_LIMIT
        self._next_scene_ns = None

    def give_up(self, reason: str) -> None:
        """Start no episode, if one was asked for.

        Args:
            reason: Why, for the person.
        """
        if self.awaited:
            self.awaited = ""
            self._show(f"not begun: {reason}")

    def check(self) -> None:
        """Start the episode that was asked for, or draw the next scene; called regularly."""
        state = self._link.state
        if self._next_scene_ns is not None and now_ns(self._node) > self._next_scene_ns:
            self.draw_scene()
        if not self.awaited or state is None:
            return
        if state.status != ArmState.STATUS_OK:
            self.give_up(f"the arm holds: {state.reason}; e enables it")
        elif time.monotonic() > self._deadline:
            self.give_up(f"waited {BEGIN_LIMIT:g} s for {self.awaited}")
        elif self._is_ready(state):
            self.awaited = ""
            self._start()

    def _is_ready(self, state: ArmState) -> bool:
        """Return whether the arm rests, and state and image show the scene."""
        if self._scenes_asked or self._link.moves:
            return False
        return min(to_ns(state.header.stamp), self._link.image_ns) > self._fresh_ns
