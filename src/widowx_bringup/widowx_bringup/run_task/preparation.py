"""From an accepted goal to the START of its episode: nodes, scene, start pose."""

from __future__ import annotations

from std_srvs.srv import Trigger

from ptr_common.managed_node import to_ns
from ptr_common.topics import TOPIC_ARM_STATE, TOPIC_POLICY_STATE
from ptr_msgs.action import RunTask
from ptr_msgs.msg import ArmState
from ptr_msgs.srv import GoToPose, ResetScene
from widowx_bringup.graph.connection import ANSWER_TIMEOUT, START_TIMEOUT

from .goal import TaskGoal
from .link import TaskLink
from .task_end import TaskEnd

MOTION_LIMIT = 60.0
"""Longest time in which the arm comes to its start pose [s of real time]."""

SETTLED_NS = 100_000_000
"""A message stamped this much later than an answer shows what the answer announces [ns]."""

LISTENERS = ("arm", "policy", "this server")
"""Who hears the events of an episode, beside the recorder."""


def not_ready(text: str) -> TaskEnd:
    """Return the end of a goal whose episode cannot begin."""
    return TaskEnd(RunTask.Result.TERMINATION_NOT_READY, text)


class Preparation:
    """Brings a graph to where an episode can begin.

    Args:
        link: The graph.
        goal: What is asked for.
        records: Whether the graph has a recorder.
    """

    def __init__(self, link: TaskLink, goal: TaskGoal, *, records: bool) -> None:
        self._link = link
        self._view = link.view
        self._goal = goal
        self._records = records

    async def run(self) -> None:
        """Wait for the nodes, draw the scene, and bring the arm to its start pose.

        Raises:
            TaskEnd: If one of them is impossible.
        """
        await self._link.until(
            lambda: not self.missing(), START_TIMEOUT, lambda: not_ready(self.missing())
        )
        if self._goal.seed is not None:  # then START ends a hold
            await self._draw_scene(self._goal.seed)
        elif self._arm.status != ArmState.STATUS_OK:
            raise not_ready(f"the arm holds: {self._arm.reason}; arm/enable ends a hold")
        if self._goal.start_pose is not None:
            request = GoToPose.Request(pose=self._goal.start_pose)
            await self._move(await self._link.call(self._link.go_to_pose, request))
        elif self._goal.seed is None:
            request = Trigger.Request()
            await self._move(await self._link.call(self._link.go_to_start, request))

    @property
    def _arm(self) -> ArmState:
        arm: ArmState = self._view.arm
        return arm

    def missing(self) -> str:
        """Return what an episode lacks before it can begin; empty if it lacks nothing."""
        topics = (TOPIC_ARM_STATE, self._view.image_topic, TOPIC_POLICY_STATE)
        if silent := [topic for topic in topics if topic not in self._view.newest]:
            return f"nothing arrives on {', '.join(silent)}"
        if silent := self._link.silent_nodes():
            return f"nothing is heard of {', '.join(silent)}"
        if self._link.now_ns() == 0:
            return "the simulated clock does not run"
        if self._records and (unheard := self._view.unrecorded_nodes()):
            return f"the recorder does not hear {', '.join(sorted(unheard))}"
        if self._link.listeners() < len(LISTENERS) + self._records:
            names = [*LISTENERS, "recorder"] if self._records else LISTENERS
            return f"not all hear the events of an episode: {', '.join(names)}"
        return ""

    async def _draw_scene(self, seed: int) -> None:
        """Draw a scene and wait until arm state and image show it."""
        request = ResetScene.Request(task=self._goal.task, seed=seed)
        answer = await self._link.call(self._link.reset, request)
        if not answer.success:
            raise not_ready(f"scene not set: {answer.message}")
        await self._until_shown()

    async def _move(self, answer: Trigger.Response | GoToPose.Response) -> None:
        """Wait until a motion that the arm has begun has ended.

        Args:
            answer: What the service said that begins it.
        """
        if not answer.success:
            raise not_ready(f"the arm does not go to its start pose: {answer.message}")
        await self._until_shown()
        await self._link.until(
            lambda: not self._arm.reason or self._arm.status != ArmState.STATUS_OK,
            MOTION_LIMIT,
            lambda: not_ready(f"the arm is still {self._arm.reason}"),
        )
        if self._arm.status != ArmState.STATUS_OK:
            raise not_ready(f"the arm held on its way to the start: {self._arm.reason}")
        await self._until_shown()

    async def _until_shown(self) -> None:
        """Wait until arm state and image are later than what has just happened."""
        since = self._link.now_ns() + SETTLED_NS
        topics = (TOPIC_ARM_STATE, self._view.image_topic)

        def is_shown() -> bool:
            """Return whether both are."""
            stamps = [to_ns(self._view.newest[topic].header.stamp) for topic in topics]
            return min(stamps) > since

        await self._link.until(
            is_shown, ANSWER_TIMEOUT, lambda: not_ready(f"no new {' or '.join(topics)}")
        )
