"""Runs episodes on a graph of nodes: scene, START, verdict, end event, bag. `ptr record` and `ptr evaluate` use it."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ptr_common.action_space import CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_DIAGNOSTICS,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_POLICY_STATE,
    camera_info_topic,
)

from .graphs import environment, find_graph
from .processes import Processes

T = TypeVar("T")

START_LIMIT = 60.0
"""Longest time the nodes may take to come up [s]; a policy node loads and checks its bundle in it."""

ANSWER_LIMIT = 15.0
"""Longest time for one answer of a running node [s]: a service, the first command, the bag's last write."""


class SessionError(PtrError):
    """An episode could not be run to its end."""


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode went."""

    episode_id: str
    task: str
    seed: int
    success: bool
    reason: str  # why it ended
    steps: int  # commands executed
    duration: float  # from START to the end event, on the graph's clock [s]
    bag: Path | None  # None when it was not recorded or was discarded


@contextlib.contextmanager
def open_session(
    graph_name: str, given: Mapping[str, str], log_folder: Path
) -> Iterator[EpisodeRunner]:
    """Start a graph's nodes and yield a session on them once all are ready; end them afterwards.

    Args:
        graph_name: "eval" or "record".
        given: Launch arguments, as for `ptr up`.
        log_folder: Receives the nodes' logs.

    Raises:
        PtrError: If an argument is wrong or a node does not come up; the message has the
        node's last lines.
    """
    graph = find_graph(graph_name)
    values = graph.resolve(given)
    specs = graph.nodes(values)
    os.environ.update(environment(values))  # this process takes part in the graph as well
    with free_domain(), Processes(specs, log_folder, {}) as processes:
        session = EpisodeRunner(
            processes, values, {spec.full_name for spec in specs if spec.reports}
        )
        try:
            session.wait_ready()
            yield session
        finally:
            session.close()


@contextlib.contextmanager
def free_domain() -> Iterator[None]:
    """Set ROS_DOMAIN_ID to one that no other session on this machine uses, unless it is set already."""
    if "ROS_DOMAIN_ID" in os.environ:
        yield
        return
    with contextlib.ExitStack() as stack:
        for domain in range(100, 1, -1):
            lock = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                lock.bind(
                    ("127.0.0.1", 22100 + domain)
                )  # held as long as the session lasts
                break
        else:
            raise SessionError("no free ROS_DOMAIN_ID in 2..100; set one yourself")
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        try:
            yield
        finally:
            del os.environ["ROS_DOMAIN_ID"]


class EpisodeRunner:
    """A person's part in an episode: sets the scene, says when it begins, watches, and says how it ended.

    Args:
        processes: The graph's nodes; a session fails at once when one of them ends.
        values: The graph's arguments.
        nodes: Full names of the graph's nodes.
    """

    def __init__(
        self, processes: Processes, values: Mapping[str, str], nodes: Set[str]
    ) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.parameter import Parameter
        from rclpy.signals import SignalHandlerOptions

        self.values = values
        self._processes = processes
        self._nodes = nodes
        self._changed = threading.Condition()
        self._newest: dict[str, Any] = {}
        self._executed = 0
        self._recorder: Any = None  # its newest entry of /diagnostics
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
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="session", daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CameraInfo
        from std_srvs.srv import Trigger

        from ptr_common import qos
        from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
        from ptr_msgs.srv import ResetScene

        node = self._node
        self._events = node.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._reset_client = node.create_client(ResetScene, "sim/reset")
        self._outcome_client = node.create_client(Trigger, "sim/outcome")
        for kind, topic, profile in (
            (ArmState, TOPIC_ARM_STATE, qos.STATE),
            (PolicyState, TOPIC_POLICY_STATE, qos.STATE),
            (EefCommand, TOPIC_EXECUTED, qos.COMMANDS),
            (CameraInfo, camera_info_topic(self.values["camera"]), qos.IMAGES),
        ):
            node.create_subscription(
                kind, topic, functools.partial(self._on, topic), profile
            )
        node.create_subscription(
            DiagnosticArray, TOPIC_DIAGNOSTICS, self._on_diagnostics, qos.STATE
        )

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=1.0)
        self._thread.join(timeout=2.0)
        self._node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException, ShutdownException

        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            self._executor.spin()

    def _on(self, topic: str, message: Any) -> None:
        with self._changed:
            self._newest[topic] = message
            self._executed += topic == TOPIC_EXECUTED
            self._changed.notify_all()

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.endswith("/recorder_node"):
                with self._changed:
                    self._recorder = status
                    self._changed.notify_all()

    # --- waiting --------------------------------------------------------------------------------------------

    def wait_ready(self) -> None:
        """Wait until every node takes part: state and pictures flow, and each listener hears the events."""
        topics = [TOPIC_ARM_STATE, camera_info_topic(self.values["camera"])]
        if "policy" in self.values:
            topics.append(TOPIC_POLICY_STATE)
        for topic in topics:
            self._wait(
                functools.partial(self._newest.__contains__, topic),
                START_LIMIT,
                f"nothing arrives on {topic}",
            )
        listeners = 2 + self._records  # the arm, and who acts
        self._wait(
            lambda: self._events.get_subscription_count() >= listeners,
            START_LIMIT,
            "not all nodes hear the events",
        )
        if self._records:  # it must hear every node before the first command, or that one could be missing in the bag
            self._wait(
                lambda: not self._unheard(),
                START_LIMIT,
                "the recorder does not hear all nodes",
            )

    def _unheard(self) -> set[str]:
        """Return the nodes whose messages do not reach the recorder yet."""
        entries = self._recorder.values if self._recorder is not None else ()
        heard = {
            name
            for entry in entries
            if entry.key == "hears"
            for name in entry.value.split()
        }
        return {name for name in self._nodes if name not in heard}

    @property
    def _records(self) -> bool:
        return self.values.get("record", "true") == "true"

    def _wait(self, condition: Callable[[], T], limit: float, problem: str) -> T:
        """Return the first true value of `condition`; watch the nodes meanwhile."""
        deadline = time.monotonic() + limit
        while True:
            self._processes.check()
            with self._changed:
                if result := condition():
                    return result
                self._changed.wait(0.05)
            if time.monotonic() > deadline:
                raise SessionError(
                    f"{problem} for {limit:g} s{self._complaints()}; see {self._processes.log_folder}"
                )

    def _complaints(self) -> str:
        """Return what arm, policy and recorder have to say about why nothing happens."""
        reasons = {
            topic: getattr(message, "reason", "") for topic, message in self._newest.items()
        }
        if self._recorder is not None and self._unheard():
            reasons["recorder"] = f"does not hear {', '.join(sorted(self._unheard()))}"
        return "".join(
            f"; {topic}: {reason}" for topic, reason in reasons.items() if reason
        )

    def _call(self, client: Any, request: Any) -> Any:
        self._wait(
            client.service_is_ready, ANSWER_LIMIT, f"service {client.srv_name} is not there"
        )
        future = client.call_async(request)
        self._wait(future.done, ANSWER_LIMIT, f"no answer from service {client.srv_name}")
        return future.result()

    # --- one episode ----------------------------------------------------------------------------------------

    def run_episode(
        self,
        task: str,
        seed: int,
        max_steps: int,
        *,
        linger: int = 0,
        keep_failure: bool = True,
    ) -> EpisodeResult:
        """Set the scene, let the graph act, and end the episode when the task is solved or the time is over.

        Args:
            task: Name of the task.
            seed: Draws the scene; the same seed draws the same.
            max_steps: Longest episode in control steps.
            linger: Steps to go on after success was seen.
            keep_failure: Whether the bag of a failed episode is kept.

        Raises:
            PtrError: If a node ends or does not answer.
        """
        from ptr_msgs.msg import EpisodeEvent

        self.reset(task, seed)
        episode_id = str(uuid.uuid4())
        start_ns = self._now_ns()
        self._executed = 0
        self._publish(episode_id, EpisodeEvent.START, task, f"seed {seed}")
        event = EpisodeEvent.DISCARD  # unless the episode comes to an end
        reason, success = "", False
        try:
            success, reason = self._watch(start_ns, max_steps)
            if success and linger:
                enough = functools.partial(self._past, self._executed + linger - 1)
                self._wait(enough, ANSWER_LIMIT, "no command was executed after success")
            kept = EpisodeEvent.FAILURE if keep_failure else EpisodeEvent.DISCARD
            event = EpisodeEvent.SUCCESS if success else kept
        finally:
            duration = (self._now_ns() - start_ns) * 1e-9
            steps = self._executed
            self._publish(episode_id, event, task, reason)
        bag = None
        if self._records and event != EpisodeEvent.DISCARD:
            bag = Path(self.values["bag_directory"]).absolute() / episode_id
            self._wait(bag.is_dir, ANSWER_LIMIT, f"bag {bag} is not complete")
        return EpisodeResult(episode_id, task, seed, success, reason, steps, duration, bag)

    def reset(self, task: str, seed: int) -> None:
        """Draw the scene of a task anew and wait until arm state and picture show it."""
        from ptr_msgs.srv import ResetScene

        answer = self._call(self._reset_client, ResetScene.Request(task=task, seed=seed))
        if not answer.success:
            raise SessionError(f"scene not set: {answer.message}")
        for topic in (TOPIC_ARM_STATE, camera_info_topic(self.values["camera"])):
            self._newest.pop(topic, None)
            self._wait(
                functools.partial(self._newest.__contains__, topic),
                ANSWER_LIMIT,
                f"nothing arrives on {topic}",
            )

    def _watch(self, start_ns: int, max_steps: int) -> tuple[bool, str]:
        """Return whether the task was solved, and why the episode is over."""
        from ptr_msgs.msg import ArmState

        self._wait(lambda: self._executed, ANSWER_LIMIT, "no command was executed")
        limit_ns = round(
            (max_steps / CONTROL_RATE + 2.0) * 1e9
        )  # a policy that waits too often runs out of time
        while True:
            seen = self._executed
            if self.solved():
                return True, "solved"
            arm = self._newest[TOPIC_ARM_STATE]
            if arm.status != ArmState.STATUS_OK:
                return False, arm.reason
            if seen >= max_steps or self._now_ns() - start_ns > limit_ns:
                return False, f"not solved within {max_steps} steps"
            with contextlib.suppress(SessionError):
                self._wait(functools.partial(self._past, seen), 0.5, "no command")

    def counters(self) -> tuple[int, int, int]:
        """Return how many commands were clipped, holds begun and commands rejected since the arm node started."""
        arm = self._newest[TOPIC_ARM_STATE]
        return arm.clipped, arm.held, arm.rejected

    def _past(self, steps: int) -> bool:
        return self._executed > steps

    def solved(self) -> bool:
        """Ask the simulation whether the task is solved."""
        from std_srvs.srv import Trigger

        return self._call(self._outcome_client, Trigger.Request()).success

    def _publish(self, episode_id: str, event: int, task: str, text: str) -> None:
        from ptr_msgs.msg import EpisodeEvent

        message = EpisodeEvent(episode_id=episode_id, event=event, task=task, text=text)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._events.publish(message)

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds
