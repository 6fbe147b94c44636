"""The graph as the server of `run_task` sees it: messages, services, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_common.managed_node import now_ns, subscribe, to_stamp
from ptr_common.topics import TOPIC_EPISODE_EVENT
from ptr_msgs.action import RunTask
from ptr_msgs.msg import EpisodeEvent
from ptr_msgs.srv import GoToPose, ResetScene
from widowx_bringup.graph.connection import ANSWER_TIMEOUT
from widowx_bringup.graph.view import GraphView

from .task_end import TaskEnd

TICK = 0.05
"""Time between two looks at what is waited for [s]."""

SILENCE = 10.0
"""A node whose entry in /diagnostics has not come for this long is lost [s of real time].

It comes once a second. The arm's own watchdogs act within two control periods.
"""


class TaskLink:
    """Newest messages of the graph, its services, and waiting without blocking the executor.

    All of it happens in the one thread of the executor.

    Args:
        node: The server's node.
        camera: Name of the policy's camera.
        nodes: Full names of the nodes that must be there and be heard by the recorder.

    Attributes:
        view: What the nodes say.
        running: Identifier of the running episode, whoever began it; empty if none runs.
        ended: The event that ended the latest episode; None before the first, and while one
            runs.
        check: Called while something is waited for; raises `TaskEnd` to end the waiting.
    """

    def __init__(self, node: Node, camera: str, nodes: Set[str]) -> None:
        self.view = GraphView(camera, nodes)
        self.running = ""
        self.ended: EpisodeEvent | None = None
        self.check: Callable[[], None] = _nothing
        self._node = node
        self._nodes = nodes
        self._statuses: dict[str, DiagnosticStatus] = {}  # newest, by the node's full name
        self._heard: dict[str, float] = {}  # when it came [s]
        self._waiting: list[Future] = []
        self.view.subscribe(node, self.view.note, self._on_diagnostics)
        self._events = node.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        subscribe(node, EpisodeEvent, TOPIC_EPISODE_EVENT, self._on_event, qos.EVENTS)
        self.hold = node.create_client(Trigger, "arm/hold")
        self.go_to_start = node.create_client(Trigger, "arm/go_to_start")
        self.go_to_pose = node.create_client(GoToPose, "arm/go_to_pose")
        self.reset = node.create_client(ResetScene, "sim/reset")
        self.outcome = node.create_client(Trigger, "sim/outcome")
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._timer = node.create_timer(TICK, self._on_tick, clock=steady)

    # --- messages -------------------------------------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.view.note_diagnostics(message)
        for status in message.status:
            node, _, part = status.name.partition(":")
            self._heard[node] = time.monotonic()
            if not part:
                self._statuses[node] = status

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.START:
            self.running = event.episode_id
            self.ended = None
        elif event.episode_id == self.running:
            self.running = ""
            self.ended = event

    def publish_event(self, episode_id: str, event: int, task: str, text: str) -> None:
        """Publish an `EpisodeEvent` with the time of the graph's clock.

        Args:
            episode_id: Identifier of the episode.
            event: One of the constants of `EpisodeEvent`.
            task: Name of the task.
            text: Remark.
        """
        message = EpisodeEvent(episode_id=episode_id, event=event, task=task, text=text)
        message.header.stamp = to_stamp(now_ns(self._node))
        self._on_event(message)  # before it comes back through the middleware
        self._events.publish(message)

    def listeners(self) -> int:
        """Return how many nodes hear the events, this one included."""
        return self._events.get_subscription_count()

    def now_ns(self) -> int:
        """Return the graph's clock [ns]."""
        return now_ns(self._node)

    def status(self, executable: str) -> tuple[DiagnosticStatus | None, dict[str, str]]:
        """Return the newest entry of a node in /diagnostics, and its values.

        Args:
            executable: Its name without namespace.
        """
        for name, status in self._statuses.items():
            if name.endswith(f"/{executable}"):
                return status, {entry.key: entry.value for entry in status.values}
        return None, {}

    def silent_nodes(self) -> list[str]:
        """Return the nodes that have not reported for `SILENCE`, or never."""
        now = time.monotonic()
        return sorted(
            name for name in self._nodes if now - self._heard.get(name, -SILENCE) > SILENCE
        )

    # --- waiting --------------------------------------------------------------------------

    def _on_tick(self) -> None:
        if not self._waiting:  # an idle server needs no ticks
            self._timer.cancel()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)

    async def tick(self) -> None:
        """Let the executor work until the next tick."""
        future = Future()
        self._waiting.append(future)
        if self._timer.is_canceled():
            self._timer.reset()
        await future

    async def until(
        self, condition: Callable[[], object], timeout: float, late: Callable[[], TaskEnd]
    ) -> None:
        """Wait until a condition holds.

        Args:
            condition: Returns something true once it holds.
            timeout: Longest time [s of real time].
            late: Returns the error after that time.

        Raises:
            TaskEnd: If the time is over, or `check` raises it.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise late()
            await self.tick()

    async def call(self, client: Client, request: Any) -> Any:
        """Return the answer of a service.

        Raises:
            TaskEnd: If no answer comes, or `check` raises it.
        """

        def late() -> TaskEnd:
            """Return the error if no answer comes."""
            text = f"no answer from service {client.srv_name} for {ANSWER_TIMEOUT:g} s"
            return TaskEnd(RunTask.Result.TERMINATION_LOST, text)

        await self.until(client.service_is_ready, ANSWER_TIMEOUT, late)
        future = client.call_async(request)
        try:
            await self.until(future.done, ANSWER_TIMEOUT, late)
        finally:
            client.remove_pending_request(future)
        return future.result()


def _nothing() -> None:
    """Find nothing that ends the waiting."""
