"""The node `task_server`: serves the action `run_task`, one goal at a time.

It publishes the events of the episode as any other sender would; nodes and bags do not know the
difference. Commands are the policy's, and every limit and hold is the arm node's.
"""

from __future__ import annotations

import sys
import time
import uuid

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.executors import Executor
from rclpy.node import Node

from ptr_common.managed_node import Health, parameter, publish_diagnostics, run
from ptr_common.topics import ACTION_RUN_TASK
from ptr_msgs.action import RunTask

from .episode import TaskEpisode
from .goal import GoalError, TaskGoal, check_goal, check_reachable
from .link import TaskLink
from .task_end import REGULAR, TaskEnd

TIME_LIMITS = (1.0, 86400.0)
"""Range of the longest time limit that may be chosen [s]."""


LAST_RESULT_LIMIT = 1.0
"""Longest time in which a server that is ended sends the result of its goal [s]."""

LAST_SPINS = 10
"""Rounds of the executor in which a result is sent."""


class TaskServer(Node):
    """ROS side of the action."""

    def __init__(self) -> None:
        super().__init__("task_server")
        camera = parameter(self, "camera", "over_shoulder", "name of the policy's camera")
        nodes = parameter(
            self,
            "nodes",
            [""],
            "full names of the nodes that must be there, recorder included",
        )
        self._records = parameter(self, "records", True, "whether the graph has a recorder")
        self._simulated = parameter(
            self, "simulated", False, "whether the graph has sim/reset and sim/outcome"
        )
        self._longest = parameter(
            self, "longest_time_limit", 600.0, "largest time limit [s]", TIME_LIMITS
        )
        others = {name for name in nodes if name} - {self.get_fully_qualified_name()}
        self._link = TaskLink(self, camera, others)
        self._episode: TaskEpisode | None = None  # of the goal that is carried out
        self._last = ""  # how the latest goal ended
        self._spinning: Executor | None = None  # kept alive for the last result
        self._server = ActionServer(
            self,
            RunTask,
            ACTION_RUN_TASK,
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )
        publish_diagnostics(self, "run_task", self._health)

    # --- goals ----------------------------------------------------------------------------

    def _on_goal(self, request: RunTask.Goal) -> GoalResponse:
        """Accept or reject a goal; ROS has no field for the reason, so that it is in the log."""
        try:
            self._check_free()
            self._checked(request)
        except GoalError as error:
            self.get_logger().error(f"goal rejected: {error}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _checked(self, request: RunTask.Goal) -> TaskGoal:
        """Return what a goal asks for.

        Raises:
            GoalError: If it is malformed.
        """
        goal = check_goal(request, self._longest, simulated=self._simulated)
        if goal.start_pose is not None:
            arm = self._link.view.arm
            joints = np.zeros(6) if arm is None else np.asarray(arm.joint_positions)
            check_reachable(goal.start_pose, joints)
        return goal

    def _check_free(self) -> None:
        """Refuse a goal while another one is carried out, or an episode of the topic runs.

        Raises:
            GoalError: If that is so.
        """
        if self._episode is not None:
            raise GoalError(
                f"the goal of episode {self._episode.episode_id} is being carried out; "
                "cancel it, or wait for its end"
            )
        if self._link.running:
            raise GoalError(
                f"episode {self._link.running!r} runs; end it by an EpisodeEvent with its id"
            )

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        goal_id = str(uuid.UUID(bytes=bytes(handle.goal_id.uuid)))
        self._episode = TaskEpisode(
            self._link,
            self._checked(handle.request),
            handle,
            goal_id,
            records=self._records,
            simulated=self._simulated,
        )
        self.get_logger().info(f"goal {goal_id}: {handle.request.task}")
        self._spinning = self.executor
        handle.execute()

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> RunTask.Result:
        """Carry out a goal and return its result."""
        assert self._episode is not None
        try:
            end, result = await self._episode.run()
        finally:
            self._episode = None
        self._last = f"{end.termination}: {result.message}"
        self.get_logger().info(f"goal ended: {self._last}")
        self._set_status(handle, end)
        return result

    def _set_status(self, handle: ServerGoalHandle, end: TaskEnd) -> None:
        """Bring a goal to its terminal state."""
        if end.termination in REGULAR:
            handle.succeed()
        elif end.termination == RunTask.Result.TERMINATION_CANCELLED:
            handle.canceled()
        else:
            handle.abort()

    # --- state ----------------------------------------------------------------------------

    def _health(self) -> Health:
        values = {
            "episode": self._episode.episode_id if self._episode else "",
            "last": self._last,
        }
        state = "carrying out a goal" if self._episode else "ready"
        return Health(DiagnosticStatus.OK, state, values)

    def destroy_node(self) -> None:
        """End the episode of a goal: without its watcher it must not run on."""
        if self._episode is not None:
            self._episode.give_up("the server of run_task was ended")
            self._send_last_result()
        self._server.destroy()
        super().destroy_node()

    def _send_last_result(self) -> None:
        """Let the executor bring the goal to its end, so that its client does not wait for ever."""
        deadline = time.monotonic() + LAST_RESULT_LIMIT
        spins = 0  # since the goal has ended
        while self._spinning is not None and spins < LAST_SPINS:
            if time.monotonic() > deadline:
                return
            spins += self._episode is None
            self._spinning.spin_once(timeout_sec=0.02)


def main() -> int:
    """Run the server."""
    return run(TaskServer)


if __name__ == "__main__":
    sys.exit(main())
