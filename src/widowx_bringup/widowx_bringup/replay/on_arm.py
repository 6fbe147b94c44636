"""`ptr replay --on-arm`: the requested actions of an episode, on the arm through its limits.

A node publishes them on `arm/command` at the recorded rate, like any sender of commands. It ends
at the first hold, and sends nothing where the arm does not stand where the episode began.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME
from ptr_common.node import Executor, now_ns, subscribe, to_ns, to_stamp
from ptr_common.progress import progress
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    camera_info_topic,
    robot_frame,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_msgs.srv import ResetScene
from ptr_training.bags.reader import Bag
from widowx_bringup.graph.arguments import CAMERA
from widowx_bringup.graph.session import simulated_graph

from .recording import ReplayError
from .requested import RequestedEpisode, read_requested

START_LIMIT = 60.0
"""Longest time until the arm node is there [s]."""

ANSWER_LIMIT = 15.0
"""Longest time for an answer of the simulation, and for a command's turn [s]."""

LINGER = 0.3
"""Time after the last command, in which it is carried out [s]."""


@dataclass(frozen=True)
class ArmOptions:
    """How an episode is played.

    Attributes:
        simulated: Start a simulated graph; otherwise the running one is used.
        yes: Move a real arm without asking.
        start_tolerance: Largest distance of the gripper from where the episode began [m].
        log: Folder for bags and logs of the simulated graph.
        values: Arguments of the simulated graph; `robot_name` is that of any graph.
    """

    simulated: bool
    yes: bool
    start_tolerance: float
    log: Path
    values: Mapping[str, str]


def replay_on_arm(bags: Sequence[Path], episode: str, options: ArmOptions) -> int:
    """Play one recorded episode on the arm, and print what became of it.

    Args:
        bags: One recording.
        episode: Identifier of the episode; empty: the bag's only one.
        options: Which arm, and how.

    Returns:
        Exit status: 0 if every action was sent, 1 if the arm held before.

    Raises:
        ReplayError: If there is no such episode, or the arm cannot play it.
    """
    if len(bags) != 1:
        raise ReplayError(f"--on-arm plays one bag; {len(bags)} are given")
    with Bag(bags[0]) as bag:
        requested = read_requested(bag, episode)
    with _open_player(options) as player:
        player.join()
        player.prepare(requested, options.start_tolerance)
        if not (player.simulated or options.yes):
            _confirm(requested)
        problem = player.play(requested, f"replay of {bags[0].name}")
        print(player.summary(len(requested.actions)))
    if problem:
        print(f"ended by the arm: {problem}", file=sys.stderr)
    return 1 if problem else 0


def _confirm(requested: RequestedEpisode) -> None:
    """Ask whether a real arm may move.

    Raises:
        ReplayError: If nobody says yes.
    """
    text = f"{len(requested.actions)} commands in {requested.duration:.1f} s on a real arm"
    if not sys.stdin.isatty():
        raise ReplayError(
            f"{text}: nobody can be asked here; --yes moves it without asking"
        )
    print(f"{text}; keep a hand on the emergency stop. Type yes to move it: ", end="")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise ReplayError("not confirmed: nothing was sent")


@contextlib.contextmanager
def _open_player(options: ArmOptions) -> Iterator[ArmPlayer]:
    """Yield a player on the running graph, or on a simulated one that ends with it."""
    with contextlib.ExitStack() as stack:
        watch: Callable[[], object] = (
            os.getpid
        )  # of a running graph there is nothing to watch
        if options.simulated:
            graph = simulated_graph(options.values, options.log)
            watch = stack.enter_context(graph).check
        elif unused := options.values.keys() - {"robot_name"}:
            raise ReplayError(
                f"{unused.pop()}:= is an argument of the simulated graph; "
                "add --simulated, or leave it out"
            )
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        camera = options.values.get("camera", CAMERA.default) if options.simulated else ""
        player = ArmPlayer(watch, camera or "", namespace=options.values["robot_name"])
        stack.callback(player.destroy_node)
        yield player


class ArmPlayer(Node):
    """Sends recorded actions to the arm.

    Args:
        watch: Called while it waits; raises an error that ends the replay.
        camera: Camera of a graph that was started, whose images and recorder are waited for;
            empty: the graph was running, with whatever it has.
        options: Passed on to `rclpy.node.Node`.

    Attributes:
        simulated: Whether the graph turned out to be simulated.
    """

    def __init__(
        self, watch: Callable[[], object], camera: str = "", **options: Any
    ) -> None:
        super().__init__("arm_player", **options)
        self._watch = watch
        self._camera = camera
        self._image_ns = 0  # stamp of the newest image of a graph that was started
        self.simulated = False
        self._state: ArmState | None = None
        self._before: ArmState | None = None  # as the episode began
        self._arrived = 0.0  # monotonic time of the newest state [s]
        self._executed = self._sent = 0
        self._episode = ""
        self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
        self._events = self.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._reset = self.create_client(ResetScene, "sim/reset")
        self._outcome = self.create_client(Trigger, "sim/outcome")
        subscribe(self, ArmState, TOPIC_ARM_STATE, self._on_state, qos.STATE)
        subscribe(self, EefCommand, TOPIC_EXECUTED, self._on_executed, qos.COMMANDS)
        if camera:
            topic = camera_info_topic(camera)
            subscribe(self, CameraInfo, topic, self._on_image, qos.IMAGES)
        self._spinner = Executor(context=self.context)
        self._spinner.add_node(self)

    def destroy_node(self) -> None:
        """End a running episode and leave the graph."""
        self._end("interrupted")
        self._spinner.shutdown()
        super().destroy_node()

    def _on_state(self, state: ArmState) -> None:
        self._state, self._arrived = state, time.monotonic()

    def _on_image(self, info: CameraInfo) -> None:
        self._image_ns = to_ns(info.header.stamp)

    def _on_executed(self, _: EefCommand) -> None:
        self._executed += bool(self._episode)

    # --- before the first command ---------------------------------------------------------

    def join(self) -> None:
        """Wait for the arm, and see that no other node commands it.

        Raises:
            ReplayError: If there is no arm, or another node commands it.
        """
        topic = self.resolve_topic_name(TOPIC_ARM_STATE)
        print(f"waiting for {topic}, {START_LIMIT:g} s at most", flush=True)
        hint = "; start a graph with `ptr up record teleop:=none`, or add --simulated"
        self._wait(lambda: self._state, START_LIMIT, f"nothing on {topic}", hint)
        hears = self._commands.get_subscription_count
        self._wait(hears, START_LIMIT, "the arm does not subscribe to commands")
        self._wait(self._is_heard, START_LIMIT, "arm or recorder hear no events")
        infos = self.get_publishers_info_by_topic(self.resolve_topic_name(TOPIC_COMMAND))
        others = {info.node_name for info in infos} - {self.get_name()}
        if others:
            raise ReplayError(
                f"{', '.join(sorted(others))} commands the arm; end it first, and start the "
                "graph with teleop:=none"
            )
        with contextlib.suppress(ReplayError):  # a real arm has no scenes
            self._wait(self._reset.service_is_ready, 2.0, "")
        self.simulated = self._reset.service_is_ready()
        if self.simulated:
            self.set_parameters([Parameter("use_sim_time", value=True)])

    def _is_heard(self) -> bool:
        return self._events.get_subscription_count() >= (2 if self._camera else 1)

    def prepare(self, requested: RequestedEpisode, tolerance: float) -> None:
        """Set the recorded scene of a simulation, and check where the arm stands.

        Args:
            requested: What is going to be played.
            tolerance: Largest distance of the gripper from where the episode began [m].

        Raises:
            ReplayError: If the arm holds, or stands elsewhere.
        """
        if self.simulated and requested.seed is not None:
            request = ResetScene.Request(task=requested.task, seed=requested.seed)
            answer = self._call(self._reset, request)
            if not answer.success:
                raise ReplayError(f"the recorded scene is not set: {answer.message}")
        self._wait(lambda: now_ns(self), ANSWER_LIMIT, "the simulated clock does not run")
        asked_ns = now_ns(self)
        silent = "no new arm state" + (" or image" if self._camera else "")
        self._wait(lambda: self._is_newer(asked_ns), ANSWER_LIMIT, silent)
        assert self._state is not None
        if self._state.status != ArmState.STATUS_OK and not self.simulated:
            raise ReplayError(
                f"the arm holds: {self._state.reason}; enable it first (arm/enable)"
            )
        here = np.asarray(self._state.proprio)
        distance = float(np.linalg.norm(here[:3] - requested.start[:3]))
        print(f"the gripper is {distance * 1e3:.0f} mm from where the episode began")
        if not distance <= tolerance:
            raise ReplayError(
                f"the gripper is {distance:.3f} m from where the episode began, at "
                f"{np.round(requested.start[:3], 3).tolist()} m; at most {tolerance:g} m are "
                "allowed (--start-tolerance): move it there first"
            )

    def _is_newer(self, stamp_ns: int) -> bool:
        """Return whether arm state, and image of a graph that was started, are newer [ns]."""
        if self._state is None or to_ns(self._state.header.stamp) <= stamp_ns:
            return False
        return not self._camera or self._image_ns > stamp_ns

    # --- the episode ----------------------------------------------------------------------

    def play(self, requested: RequestedEpisode, text: str) -> str:
        """Send the actions as an episode, each at its recorded time after the first.

        Args:
            requested: What is played.
            text: Remark of the START.

        Returns:
            Why the arm held; empty if every action was sent.
        """
        self._before, self._executed, self._sent = self._state, 0, 0
        self._episode = str(uuid.uuid4())
        self._publish(EpisodeEvent.START, requested.task, text)
        begun_ns = now_ns(self)
        try:
            plan = list(zip(requested.times_ns, requested.actions, strict=True))
            for after_ns, action in progress(plan, desc="replay", unit="command"):
                if problem := self._hold_until(begun_ns + after_ns):
                    return problem
                self._send(action)
            return self._hold_until(now_ns(self) + round(LINGER * 1e9))
        finally:
            self._end("replayed")

    def summary(self, planned: int) -> str:
        """Return what became of an episode, in a line.

        Args:
            planned: Number of its actions.
        """
        assert self._before is not None
        assert self._state is not None
        changed = []
        for name in ("clipped", "rejected", "held"):
            changed.append(
                f"{name} {getattr(self._state, name) - getattr(self._before, name)}"
            )
        line = (
            f"{self._sent} of {planned} commands sent, {self._executed} executed; "
            f"{', '.join(changed)}"
        )
        if not self.simulated:
            return line
        answer = self._call(self._outcome, Trigger.Request())
        return f"{line}; the task is {'solved' if answer.success else 'not solved'}"

    def _hold_until(self, due_ns: int) -> str:
        """Wait for a time on the graph's clock [ns]; return why the arm holds, if it does."""

        def over() -> bool:
            """Return whether it is time, or the arm holds."""
            return now_ns(self) >= due_ns or bool(self._problem())

        limit = ANSWER_LIMIT + max(0, due_ns - now_ns(self)) * 1e-9
        self._wait(over, limit, "the graph's clock stands still")
        return self._problem()

    def _problem(self) -> str:
        """Return why nothing more may be sent; empty if nothing is wrong."""
        assert self._state is not None
        assert self._before is not None
        is_held = self._state.status != ArmState.STATUS_OK and self._is_of_episode()
        if is_held or self._state.held > self._before.held:
            return self._state.reason or "it held, and was enabled again"
        silence = time.monotonic() - self._arrived
        return f"no arm state for {silence:.1f} s" if silence > 8.0 else ""

    def _is_of_episode(self) -> bool:
        """Return whether the newest state is later than START, which ends a simulated hold."""
        return self._sent > 0 or not self.simulated

    def _send(self, action: np.ndarray) -> None:
        command = EefCommand(action=action, source=EefCommand.SOURCE_SCRIPT)
        command.header.stamp = to_stamp(now_ns(self))
        command.header.frame_id = robot_frame(self.get_namespace(), BASE_FRAME)
        self._commands.publish(command)
        self._sent += 1

    def _publish(self, event: int, task: str, text: str) -> None:
        message = EpisodeEvent(episode_id=self._episode, event=event, task=task, text=text)
        message.header.stamp = to_stamp(now_ns(self))
        self._events.publish(message)

    def _end(self, text: str) -> None:
        """End the episode without a verdict, if one is running."""
        if self._episode:
            self._publish(EpisodeEvent.STOP, "", text)
            self._episode = ""
            self._events.wait_for_all_acked(Duration(seconds=1))

    # --- waiting --------------------------------------------------------------------------

    def _call(self, client: Any, request: Any) -> Any:
        """Return the answer of a service of the simulation."""
        name = client.srv_name
        self._wait(client.service_is_ready, ANSWER_LIMIT, f"no service {name}")
        future = client.call_async(request)
        self._wait(future.done, ANSWER_LIMIT, f"no answer from {name}")
        return future.result()

    def _wait(
        self, condition: Callable[[], object], limit: float, problem: str, hint: str = ""
    ) -> None:
        """Process messages until a condition holds.

        Raises:
            ReplayError: If it does not hold within the limit [s], with problem and hint.
        """
        deadline = time.monotonic() + limit
        while not condition():
            self._watch()
            if time.monotonic() > deadline:
                raise ReplayError(f"{problem} for {limit:g} s{hint}")
            self._spinner.spin_once(timeout_sec=0.005)
