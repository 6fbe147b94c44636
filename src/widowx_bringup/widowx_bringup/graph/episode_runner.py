"""Runs episodes on a graph: scene, START, verdict, end event, bag."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ptr_common.action_space import CONTROL_RATE
from ptr_common.topics import TOPIC_ARM_STATE, start_text

from .connection import ANSWER_TIMEOUT, EpisodeError, GraphConnection
from .view import is_of_policy

if TYPE_CHECKING:
    from ptr_msgs.msg import ArmState

SLACK = 2.0
"""Time that an episode may take longer than its steps [s], for a policy that waits."""

COMMAND_TIMEOUT = 0.5
"""Longest time without a command before the arm's state is looked at again [s]."""


def limit_ns(max_steps: int) -> int:
    """Return the longest time of an episode of so many control steps [ns]."""
    return round((max_steps / CONTROL_RATE + SLACK) * 1e9)


@dataclass(frozen=True)
class EpisodeResult:
    """Result of one episode.

    Attributes:
        episode_id: Identifier in the events and name of the bag.
        task: Name of the task.
        seed: Seed of the scene.
        success: Whether the task was solved.
        reason: Why the episode ended.
        aborted: Whether that was a cause outside the policy, so that it neither succeeded
            nor failed.
        steps: Commands executed up to the end event, by their stamps: as many as the bag has.
        duration: Time from START to the end event, on the graph's clock [s].
        bag: The bag; None if the episode was not recorded or was discarded.
    """

    episode_id: str
    task: str
    seed: int
    success: bool
    reason: str
    steps: int
    duration: float
    bag: Path | None
    aborted: bool = False


@dataclass(frozen=True)
class Verdict:
    """How an episode ended.

    Attributes:
        success: As in `EpisodeResult`.
        reason: As in `EpisodeResult`.
        aborted: As in `EpisodeResult`.
        event: The event that ends it, one of the constants of `EpisodeEvent`; None: the one
            that follows from the other attributes.
        published: Whether somebody else has published that event already.
    """

    success: bool
    reason: str
    aborted: bool = False
    event: int | None = None
    published: bool = False

    def end_event(self, *, keep_failure: bool) -> int:
        """Return the event that ends the episode, one of the constants of `EpisodeEvent`."""
        from ptr_msgs.msg import EpisodeEvent

        if self.event is not None:
            return self.event
        if self.success:
            return EpisodeEvent.SUCCESS
        if not keep_failure:
            return EpisodeEvent.DISCARD
        return EpisodeEvent.STOP if self.aborted else EpisodeEvent.FAILURE


class EpisodeRunner:
    """Sets scenes, begins episodes, watches them, and says how they ended.

    Args:
        graph: Connection to the graph.

    Attributes:
        values: The graph's arguments.
        graph: The connection.
    """

    def __init__(self, graph: GraphConnection) -> None:
        self.values = graph.values
        self.graph = graph

    def run_episode(
        self,
        task: str,
        seed: int,
        max_steps: int,
        *,
        linger: int = 0,
        keep_failure: bool = True,
        name: str = "",
    ) -> EpisodeResult:
        """Run one episode until the task is solved or the time is over.

        Args:
            task: Name of the task.
            seed: Seed of the scene; the same seed gives the same scene.
            max_steps: Longest episode [control steps].
            linger: Control steps to go on after success.
            keep_failure: Whether the bag of a failed episode is kept.
            name: Of the episode and its bag; empty: a UUID.

        Raises:
            PtrError: If a node ends, does not answer or was restarted.
        """
        from ptr_msgs.msg import EpisodeEvent

        self.reset(task, seed)
        graph, episode_id = self.graph, name or str(uuid.uuid4())
        start_ns = graph.now_ns()
        graph.restart_count()
        graph.publish_event(episode_id, EpisodeEvent.START, task, self._start_text(seed))
        event, verdict = EpisodeEvent.DISCARD, Verdict(False, "")  # after an exception
        try:
            verdict = self.watch(start_ns, max_steps)
            if verdict.success and linger:
                self._wait_for_steps(graph.executed + linger)
            event = verdict.end_event(keep_failure=keep_failure)
        finally:
            end = (episode_id, event, task, verdict.reason)
            end_ns = (
                self._heard_end(start_ns)
                if verdict.published
                else graph.publish_event(*end)
            )
        recorded = graph.records and event != EpisodeEvent.DISCARD
        bag = self._wait_for_bag(episode_id) if recorded else None
        return EpisodeResult(
            *(episode_id, task, seed, verdict.success, verdict.reason),
            *(graph.executed_until(end_ns), (end_ns - start_ns) * 1e-9, bag),
            aborted=verdict.aborted,
        )

    def _heard_end(self, start_ns: int) -> int:
        """Return when somebody else ended the episode [ns], on the clock of the graph."""
        from ptr_common.node import to_ns

        now_ns, stamp_ns = self.graph.now_ns(), to_ns(self.graph.ends[0].header.stamp)
        return stamp_ns if start_ns <= stamp_ns < now_ns else now_ns  # on another clock

    def _start_text(self, seed: int) -> str:
        """Return the text of START; nobody draws the scenes of a real arm."""
        simulated = self.values.get("use_sim", "true") == "true"
        return start_text(seed if simulated else None)

    def reset(self, task: str, seed: int) -> None:
        """Set the scene of a task and wait until arm state and image show it.

        Raises:
            EpisodeError: If the simulation refuses.
        """
        answer = self.graph.reset_scene(task, seed)
        if not answer.success:
            raise EpisodeError(f"scene not set: {answer.message}")
        for topic in (TOPIC_ARM_STATE, self.graph.image_topic):
            self.graph.wait_for_message(topic, ANSWER_TIMEOUT, fresh=True)

    def solved(self) -> bool:
        """Ask the simulation whether the task is solved."""
        return self.graph.outcome()

    def counters(self) -> tuple[int, int, int]:
        """Return the numbers of clipped commands, holds and rejected commands of the arm node."""
        arm = self.graph.arm_state()
        return arm.clipped, arm.held, arm.rejected

    def watch(self, start_ns: int, max_steps: int) -> Verdict:
        """Wait until the episode is over.

        Args:
            start_ns: Time of START on the graph's clock [ns].
            max_steps: Longest episode [control steps].
        """
        from ptr_msgs.msg import ArmState

        graph = self.graph
        graph.wait(lambda: graph.executed, ANSWER_TIMEOUT, "no command was executed")
        while True:
            steps = graph.executed
            if self.solved():
                return Verdict(True, "solved")
            arm = graph.arm_state()
            if arm.status != ArmState.STATUS_OK:
                return Verdict(False, arm.reason, not self.is_of_policy(arm))
            if steps >= max_steps or graph.now_ns() - start_ns > limit_ns(max_steps):
                return Verdict(False, f"not solved within {max_steps} steps")
            with contextlib.suppress(EpisodeError):
                self._wait_for_steps(steps + 1, COMMAND_TIMEOUT)

    def is_of_policy(self, arm: ArmState) -> bool:
        """Return whether the arm holds because of the policy.

        Args:
            arm: A state in which the arm holds.
        """
        kind = self.graph.hold_kind(arm.held)
        return is_of_policy(kind, policy_waited=self.graph.policy_waited)

    def _wait_for_steps(self, steps: int, timeout: float = ANSWER_TIMEOUT) -> None:
        """Wait until at least `steps` commands of the episode were executed."""
        graph = self.graph
        graph.wait(lambda: graph.executed >= steps, timeout, "no command was executed")

    def _wait_for_bag(self, episode_id: str) -> Path:
        """Return the bag of an episode once it is complete."""
        bag = Path(self.values["bag_directory"]).absolute() / episode_id
        self.graph.wait(bag.is_dir, ANSWER_TIMEOUT, f"bag {bag} is not complete")
        return bag
