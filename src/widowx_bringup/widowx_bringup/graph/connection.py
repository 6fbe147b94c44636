"""A connection to a running graph: its newest messages, its services, and waiting for them."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.images import RawImage
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_EPISODE_EVENT,
    TOPIC_POLICY_STATE,
    TOPIC_SHADOW_STATE,
    image_topic,
)

from .view import GraphView

T = TypeVar("T")

START_TIMEOUT = 60.0
"""Longest time in which the nodes start [s]; a policy node loads and checks its bundle in it."""

ANSWER_TIMEOUT = 15.0
"""Longest time for one answer of a running node [s]: a service, a command, the end of a bag."""

CLOSE_LIMIT = 20.0
"""Longest time in which the connection is closed [s]; usually it takes 0.1 s."""

WAIT_PERIOD = 0.05
"""Longest time between two looks at the nodes' processes [s]."""


class EpisodeError(PtrError):
    """An episode could not be run to its end."""


class RestartError(PtrError):
    """A node was restarted beneath the connection: what it counted is lost."""


class NodeWatch(Protocol):
    """Says whether the nodes of a graph are alive; see `processes.Processes`."""

    log_folder: Path

    def check(self) -> None:
        """Raise NodeDiedError if one has ended."""


class GraphConnection:
    """A node beside a graph's nodes that notes their messages and calls their services.

    Args:
        processes: Watches the graph's nodes; waiting fails at once when one of them ends.
        values: The graph's arguments.
        nodes: Full names of the nodes that the recorder must receive.

    Attributes:
        values: The graph's arguments.
        ends: Every event but START of the episode that was begun last, its own ones included,
            oldest first.
    """

    def __init__(
        self, processes: NodeWatch, values: Mapping[str, str], nodes: Set[str]
    ) -> None:
        import rclpy
        from rclpy.node import Node
        from rclpy.parameter import Parameter
        from rclpy.signals import SignalHandlerOptions

        from ptr_common.node import Executor

        self.values = values
        self.ends: list[Any] = []
        self._episode_id = ""  # of the episode that was begun last
        self._processes = processes
        self._changed = threading.Condition()
        self._view = GraphView(values["camera"], nodes)
        self._context = rclpy.Context()
        rclpy.init(
            args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO
        )
        clock = Parameter("use_sim_time", value=values["use_sim"] == "true")
        self._node = Node(
            "session",
            context=self._context,
            namespace=values["robot_name"],
            parameter_overrides=[clock],
        )
        self._connect()
        self._executor = Executor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="session", daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        from std_srvs.srv import Trigger

        from ptr_common import qos
        from ptr_common.node import subscribe
        from ptr_msgs.msg import EpisodeEvent
        from ptr_msgs.srv import ResetScene

        node = self._node
        self._events = node.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._reset_client = node.create_client(ResetScene, "sim/reset")
        self._outcome_client = node.create_client(Trigger, "sim/outcome")
        self._view.subscribe(node, self._on_message, self._on_diagnostics)
        subscribe(node, EpisodeEvent, TOPIC_EPISODE_EVENT, self._on_event, qos.EVENTS)

    @property
    def executed(self) -> int:
        """Number of commands executed since `restart_count`."""
        return self._view.executed

    @property
    def policy_waited(self) -> bool:
        """Whether the policy lacked an input when the arm began to hold."""
        return self._view.policy_waited

    @property
    def image_topic(self) -> str:
        """Topic of the camera info that accompanies each image of the policy's camera."""
        return self._view.image_topic

    @property
    def records(self) -> bool:
        """Whether the graph has a recorder."""
        return self.values.get("record", "true") == "true"

    @property
    def has_shadow(self) -> bool:
        """Whether the graph has a second policy, which commands nothing."""
        return bool(self.values.get("shadow"))

    def close(self) -> None:
        """Leave the graph.

        A middleware can wait for ever while it destroys a node, with Python's lock held: then
        no thread of this process ever runs again, and no signal is handled. After
        `CLOSE_LIMIT` the process shows where each thread stands, and ends with status 1.
        """
        faulthandler.dump_traceback_later(CLOSE_LIMIT, exit=True, file=2)
        try:
            self._executor.shutdown(timeout_sec=1.0)
            self._thread.join(timeout=2.0)
            self._node.destroy_node()
            self._context.try_shutdown()
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException, ShutdownException

        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            self._executor.spin()

    def _on_message(self, topic: str, message: Any) -> None:
        with self._changed:
            self._view.note(topic, message)
            self._changed.notify_all()

    def _on_diagnostics(self, message: Any) -> None:
        with self._changed:
            self._view.note_diagnostics(message)
            self._changed.notify_all()

    def _on_event(self, event: Any) -> None:
        with self._changed:
            if event.event != event.START and event.episode_id == self._episode_id:
                self.ends.append(event)
            self._changed.notify_all()

    # --- messages and services ------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the graph's clock [ns]."""
        return self._node.get_clock().now().nanoseconds

    def arm_state(self) -> Any:
        """Return the newest state of the arm, an `ArmState`.

        Raises:
            RestartError: If a counter went backwards since the connection was made.
        """
        if self._view.restarted:
            raise RestartError(
                f"{self._view.restarted}: the arm node was restarted beneath this session; "
                "let nothing else start or end its nodes"
            )
        return self._view.newest[TOPIC_ARM_STATE]

    def hold_kind(self, held: int) -> str:
        """Return the kind of a hold, as the arm's diagnostics have it.

        Args:
            held: Number of the hold, by the arm's state.

        Raises:
            EpisodeError: If the diagnostics do not come, or the hold has ended meanwhile.
        """
        text = f"the arm held, and its diagnostics do not say why (hold {held})"
        return self.wait(lambda: self._view.hold_kind(held), ANSWER_TIMEOUT, text)

    def restart_count(self) -> None:
        """Count executed commands from 0 again."""
        with self._changed:
            self._view.executed_ns.clear()

    def executed_until(self, stamp_ns: int) -> int:
        """Return how many commands since `restart_count` are stamped up to a time [ns]."""
        with self._changed:
            return sum(stamp <= stamp_ns for stamp in self._view.executed_ns)

    def publish_event(self, episode_id: str, event: int, task: str, text: str) -> int:
        """Publish an `EpisodeEvent` with the time of the graph's clock, and return that [ns].

        Args:
            episode_id: Identifier of the episode.
            event: One of the constants of `EpisodeEvent`.
            task: Name of the task.
            text: Remark.
        """
        from ptr_msgs.msg import EpisodeEvent

        message = EpisodeEvent(episode_id=episode_id, event=event, task=task, text=text)
        message.header.stamp = (now := self._node.get_clock().now()).to_msg()
        if event == EpisodeEvent.START:
            with self._changed:
                self._episode_id, self.ends = episode_id, []
        self._events.publish(message)
        return int(now.nanoseconds)

    def reset_scene(self, task: str, seed: int) -> Any:
        """Return the simulation's answer to a request for a scene, a `ResetScene.Response`."""
        from ptr_msgs.srv import ResetScene

        return self.call(self._reset_client, ResetScene.Request(task=task, seed=seed))

    def outcome(self) -> bool:
        """Return whether the simulation sees the task solved."""
        from std_srvs.srv import Trigger

        return self.call(self._outcome_client, Trigger.Request()).success

    def recorder_folder(self) -> Path:
        """Return the folder in which the recorder puts its bags, as it says itself."""

        def folder() -> str:
            values = getattr(self._view.recorder, "values", ())
            return next((item.value for item in values if item.key == "directory"), "")

        return Path(self.wait(folder, ANSWER_TIMEOUT, "the recorder names no folder"))

    @contextlib.contextmanager
    def newest_image(self) -> Iterator[Callable[[], np.ndarray | None]]:
        """Listen to the policy's camera, and yield what returns its newest image.

        The image is (H, W, 3) uint8 RGB; None before the first.
        """
        from sensor_msgs.msg import Image

        from ptr_common import qos
        from ptr_common.node import subscribe

        newest: list[RawImage] = []

        def on_image(image: RawImage) -> None:
            newest[:] = [image]

        subscription = subscribe(
            self._node,
            Image,
            image_topic(self.values["camera"]),
            on_image,
            qos.IMAGES,
            decode=RawImage.from_cdr,
        )
        try:
            yield lambda: newest[0].rgb() if newest else None
        finally:
            self._node.destroy_subscription(subscription)

    def serve(self, name: str, on_call: Callable[[], str]) -> None:
        """Offer a service of the type std_srvs/Trigger.

        Args:
            name: Of the service.
            on_call: Does what is asked for, and returns the answer.
        """
        from std_srvs.srv import Trigger

        def answer(_: Any, response: Any) -> Any:
            with self._changed:
                response.success, response.message = True, on_call()
                self._changed.notify_all()
            return response

        self._node.create_service(Trigger, name, answer)

    def client(self, kind: Any, name: str) -> Any:
        """Return a client of a service of the graph."""
        return self._node.create_client(kind, name)

    def call(self, client: Any, request: Any, timeout: float = ANSWER_TIMEOUT) -> Any:
        """Return the answer of a service.

        Args:
            client: See `client`.
            request: Its request.
            timeout: Longest time until it is there, and until it has answered [s].
        """
        name = client.srv_name
        self.wait(client.service_is_ready, timeout, f"no service {name}")
        future = client.call_async(request)
        self.wait(future.done, timeout, f"no answer from service {name}")
        return future.result()

    # --- waiting --------------------------------------------------------------------------

    def wait(self, condition: Callable[[], T], timeout: float, problem: str) -> T:
        """Wait until a condition holds; watch the nodes' processes meanwhile.

        Args:
            condition: Returns something true once it holds.
            timeout: Longest time [s].
            problem: What is wrong while it does not hold, for the error.

        Returns:
            The first true value of the condition.

        Raises:
            NodeDiedError: If a node ends meanwhile.
            EpisodeError: If the time is over.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._processes.check()
            with self._changed:
                if result := condition():
                    return result
                self._changed.wait(WAIT_PERIOD)
            if time.monotonic() > deadline:
                with self._changed:
                    reasons = self._view.reasons()
                raise EpisodeError(
                    f"{problem} for {timeout:g} s{reasons}; "
                    f"see {self._processes.log_folder}"
                )

    def wait_for_message(self, topic: str, timeout: float, *, fresh: bool = False) -> None:
        """Wait until a message has arrived on a topic.

        Args:
            topic: Name of the topic.
            timeout: Longest time [s].
            fresh: Whether messages that arrived before the call do not count.
        """
        if fresh:
            with self._changed:
                self._view.newest.pop(topic, None)
        arrived = functools.partial(self._view.newest.__contains__, topic)
        self.wait(arrived, timeout, f"nothing arrives on {topic}")

    def wait_ready(self) -> None:
        """Wait until every node takes part: state and images arrive, events reach all nodes."""
        topics = [TOPIC_ARM_STATE, self.image_topic]
        if "policy" in self.values:
            topics.append(TOPIC_POLICY_STATE)
        if self.has_shadow:
            topics.append(TOPIC_SHADOW_STATE)
        for topic in topics:
            self.wait_for_message(topic, START_TIMEOUT)
        # This node, the arm, the source of commands, a shadow of it, the recorder, and the
        # server of run_task.
        runs_tasks = self.values.get("run_task") == "true"
        subscribers = 3 + self.has_shadow + self.records + runs_tasks
        self.wait(
            lambda: self._events.get_subscription_count() >= subscribers,
            START_TIMEOUT,
            f"fewer than {subscribers} nodes subscribe to the events",
        )
        if self.records:
            # Without a connection, the bag might miss a node's first message.
            self.wait(
                lambda: not self._view.unrecorded_nodes(),
                START_TIMEOUT,
                "some nodes do not reach the recorder",
            )
