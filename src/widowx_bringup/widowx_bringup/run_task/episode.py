"""One goal of `run_task` from its acceptance to its result: preparation, episode, end, bag."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from rclpy.action.server import ServerGoalHandle
from std_srvs.srv import Trigger

from ptr_common.managed_node import to_ns
from ptr_common.topics import TOPIC_POLICY_STATE, start_text
from ptr_msgs.action import RunTask
from ptr_msgs.msg import EpisodeEvent, PolicyState
from widowx_bringup.graph.connection import ANSWER_TIMEOUT

from .goal import TaskGoal
from .link import TaskLink
from .preparation import Preparation
from .task_end import OUTCOMES, TaskEnd
from .watch import EpisodeWatch

NO_Q_VALUES = (np.nan, np.nan)


class TaskEpisode:
    """The episode of one goal.

    Args:
        link: The graph.
        goal: What is asked for.
        handle: The goal; tells whether it is to be cancelled, and publishes the feedback.
        goal_id: UUID of the goal.
        records: Whether the graph has a recorder.
        simulated: Whether the simulation says when the task is solved.

    Attributes:
        episode_id: Identifier of the episode and name of its bag.
        running: Whether the episode has begun and not ended.
    """

    def __init__(
        self,
        link: TaskLink,
        goal: TaskGoal,
        handle: ServerGoalHandle,
        goal_id: str,
        *,
        records: bool,
        simulated: bool,
    ) -> None:
        self.episode_id = goal.episode_id or goal_id
        self.running = False
        self._link = link
        self._goal = goal
        self._handle = handle
        self._goal_id = goal_id
        self._records = records
        self._simulated = simulated
        self._watch: EpisodeWatch | None = None
        self._start_ns = 0
        self._bags = "0"  # complete bags of the recorder at the START
        self._shown: tuple[str, int] | None = None  # phase and step of the last feedback
        self._given_up = ""  # why the server ends the goal

    async def run(self) -> tuple[TaskEnd, RunTask.Result]:
        """Run the episode.

        Returns:
            How it ended, and the result of the goal.
        """
        self._link.check = self._check
        try:
            await Preparation(self._link, self._goal, records=self._records).run()
            self._begin()
            await self._act()
        except TaskEnd as end:
            return end, await self._finish(end)
        finally:
            self.give_up("the server of run_task failed")
            self._link.check = lambda: None
        raise AssertionError("an episode ends by TaskEnd only")

    def give_up(self, reason: str) -> None:
        """End the episode without a verdict, if it runs, and the goal at the next tick.

        Args:
            reason: Why, for event and result.
        """
        self._given_up = reason
        if self.running:
            self._end(EpisodeEvent.STOP, reason)

    # --- while it runs --------------------------------------------------------------------

    def _check(self) -> None:
        """Raise `TaskEnd` if something ends the goal; called at every tick."""
        if self._given_up:
            raise TaskEnd(RunTask.Result.TERMINATION_LOST, self._given_up)
        self._publish_feedback()
        if self._handle.is_cancel_requested:
            raise TaskEnd(RunTask.Result.TERMINATION_CANCELLED, "cancelled")
        if self._watch is not None:
            self._watch.check()
        elif self._link.running:
            text = f"episode {self._link.running!r} was begun by somebody else"
            raise TaskEnd(RunTask.Result.TERMINATION_ANOTHER, text)

    def _begin(self) -> None:
        """Publish the START of the episode."""
        link = self._link
        link.view.executed_ns.clear()
        link.view.restarted = ""
        self._bags = link.status("recorder_node")[1].get("bags", "0")
        self._start_ns = link.now_ns()
        self._watch = EpisodeWatch(link, self.episode_id, records=self._records)
        self.running = True
        text = start_text(self._goal.seed, self._goal_id)
        link.publish_event(self.episode_id, EpisodeEvent.START, self._goal.task, text)

    async def _act(self) -> None:
        """Watch the episode until it ends.

        Raises:
            TaskEnd: Always.
        """
        asked = -1  # commands executed when the simulation was asked last
        while True:
            self._check()
            is_over = self._seconds() > self._goal.time_limit
            executed = self._link.view.executed
            if self._simulated and (is_over or executed != asked):
                asked = executed
                answer = await self._link.call(self._link.outcome, Trigger.Request())
                if answer.success:
                    raise TaskEnd(
                        RunTask.Result.TERMINATION_SOLVED, "solved", EpisodeEvent.SUCCESS
                    )
            if is_over:
                raise self._time_is_over()
            await self._link.tick()

    def _time_is_over(self) -> TaskEnd:
        """Return the end of an episode that has had its time.

        Only the simulation knows that the task is not solved.
        """
        if not self._link.view.executed:
            text = f"no command was executed{self._link.view.reasons()}"
            return TaskEnd(RunTask.Result.TERMINATION_POLICY, text)
        limit = f"{self._goal.time_limit:g} s"
        termination = RunTask.Result.TERMINATION_TIME_LIMIT
        if self._simulated:
            return TaskEnd(termination, f"not solved within {limit}", EpisodeEvent.FAILURE)
        return TaskEnd(termination, f"not judged within {limit}")

    def _seconds(self) -> float:
        """Return the time since START on the graph's clock [s]."""
        return (self._link.now_ns() - self._start_ns) * 1e-9

    def _publish_feedback(self) -> None:
        """Publish phase, step, Q values and image age, once for each step."""
        phase, step = RunTask.Feedback.PHASE_PREPARING, 0
        if self._watch is not None:
            phase, step = RunTask.Feedback.PHASE_RUNNING, self._link.view.executed
        if (phase, step) == self._shown:
            return
        self._shown = (phase, step)
        self._handle.publish_feedback(
            RunTask.Feedback(
                phase=phase,
                episode_id=self.episode_id,
                step=step,
                q_values=self._q_values(),
                image_age=self._image_age(),
            )
        )

    def _q_values(self) -> np.ndarray:
        """Return the critic's values of the newest action of this episode, (2,); NaN without."""
        state = self._link.view.newest.get(TOPIC_POLICY_STATE)
        if state is None or state.status != PolicyState.STATUS_ACTING:
            return np.array(NO_Q_VALUES)
        if self._watch is None or to_ns(state.header.stamp) < self._start_ns:
            return np.array(NO_Q_VALUES)
        return np.asarray(state.q_values)

    def _image_age(self) -> float:
        """Return the age of the newest image [s]; NaN before the first."""
        image = self._link.view.newest.get(self._link.view.image_topic)
        if image is None:
            return float("nan")
        return (self._link.now_ns() - to_ns(image.header.stamp)) * 1e-9

    # --- its end --------------------------------------------------------------------------

    async def _finish(self, end: TaskEnd) -> RunTask.Result:
        """End the episode, and return the result once the bag is complete.

        Args:
            end: Why it ends.
        """
        self._link.check = lambda: None
        message = str(end)
        if end.termination == RunTask.Result.TERMINATION_CANCELLED:
            message = f"{message}; {await self._hold()}"
        result = RunTask.Result(
            outcome=RunTask.Result.OUTCOME_NONE,
            termination=end.termination,
            hold_kind=end.hold_kind,
            message=message,
        )
        if self._watch is None:
            return result
        result.outcome = OUTCOMES.get(end.event, RunTask.Result.OUTCOME_STOPPED)
        result.episode_id = self.episode_id
        result.steps = self._link.view.executed
        result.duration = self._seconds()
        if end.published:
            self.running = False
        elif self.running:
            self._end(end.event, message)
        if self._records and not self._given_up and end.event != EpisodeEvent.DISCARD:
            result.bag = await self._find_bag(end)
        return result

    def _end(self, event: int, text: str) -> None:
        self.running = False
        self._link.publish_event(self.episode_id, event, self._goal.task, text)

    async def _hold(self) -> str:
        """Make the arm hold where it is; return what the arm node says."""
        try:
            answer = await self._link.call(self._link.hold, Trigger.Request())
        except TaskEnd as error:
            return str(error)
        return str(answer.message)

    async def _find_bag(self, end: TaskEnd) -> str:
        """Return the folder of the bag once the recorder has completed it; empty if there is none.

        Args:
            end: Why the episode ended.
        """
        status, values = self._link.status("recorder_node")
        if status is None or end.termination == RunTask.Result.TERMINATION_RECORDER:
            return ""
        bag = Path(values.get("directory", "")).absolute() / self.episode_id

        def is_complete() -> bool:
            """Return whether the bag is there; on another computer, whether one was finished."""
            said = self._link.status("recorder_node")[1]
            finished = said.get("state") == "idle" and said.get("bags") != self._bags
            return bag.is_dir() or finished

        def late() -> TaskEnd:
            return TaskEnd(RunTask.Result.TERMINATION_RECORDER, f"{bag} is not complete")

        with contextlib.suppress(TaskEnd):
            await self._link.until(is_complete, ANSWER_TIMEOUT, late)
            return str(bag)
        return ""
