"""Teleoperation: a person's device on the ROS graph, and the episodes of that person.

As with every other source of commands, a step falls on the image nearest to the control
period, so that each command answers an image. In an episode every step sends a command,
without motion while the dead-man switch is not held; outside of an episode only a held switch
sends commands.

A simulated graph is recognised by its service `sim/reset`: the node then follows the
simulated clock, sets up a scene before each recording, and saves a success only if the
simulation finds the task solved.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from ptr_common import qos, topics
from ptr_common.action_space import CONTROL_RATE
from ptr_common.managed_node import (
    REAL_TIME,
    Health,
    now_ns,
    parameter,
    publish_diagnostics,
    run,
    subscribe,
    to_stamp,
)
from ptr_msgs.msg import ArmState, EpisodeEvent
from ptr_policy_node.observation import StepSchedule
from widowx_bringup.graph.episode_names import EpisodeNames

from .arm_link import SERVICES, ArmLink
from .calls import Answer, Calls
from .commands import CommandSender
from .coverage import Demonstration, missing_coverage
from .demonstration_set import DemonstrationSet
from .devices import Device, chosen_device
from .episode_start import EpisodeStart
from .mapping import FASTEST, SLOWEST, SPEED, Button, TeleopInput, TeleopMapper
from .scene import SimulatedScene
from .status_line import TeleopStatus
from .watched import WatchedRollouts

POLL_PERIOD = 0.02
"""Time between two inputs of the device [s]."""

LOOK_PERIOD = 0.5
"""Time between two looks at which nodes the graph has [s]."""


class TeleopNode(Node):
    """Publishes a person's commands and episode events, and reports the coverage of the set.

    Args:
        make_device: Makes the device; None: the parameter `device` names it.
        show: Receives messages for the person.
        options: Arguments of `rclpy.node.Node`.

    Attributes:
        task: Name of the task.
        watches: Whether a policy moves the arm and the person only judges it.
        mapper: Turns inputs into actions.
        device: The person's device.
        status: What the node has seen and done.
        rollouts: Those that a watching person judges.
        episode: Identifier of the running episode; empty if none is running.
        reason: Why the person judges the episode so; for its end event, empty: not said.
    """

    NAME = "teleop_node"

    def __init__(
        self,
        make_device: Callable[[Node], Device] | None = None,
        show: Callable[[str], object] = print,
        **options: Any,
    ) -> None:
        super().__init__(self.NAME, **options)
        self._show = show
        self.task = parameter(self, "task", "", "name of the task")
        text = "speed at the start, as a fraction of the longest step"
        speed = parameter(self, "speed", SPEED, text, (SLOWEST, FASTEST))
        text = "whether a policy moves the arm and the person only judges it"
        self.watches = parameter(self, "watch", False, text)
        self.mapper = TeleopMapper(speed)
        self.episode = self.reason = ""
        self.status = TeleopStatus()
        self._names = EpisodeNames()
        self._input = TeleopInput()
        # Proprioception and action, (7,) each, of the running episode.
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []
        self._rejected_before = 0  # the arm's count at the begin of the episode
        self._schedule = StepSchedule(CONTROL_RATE)
        self._connect()
        publish_diagnostics(self, "teleoperation", self._health)
        self.device = (make_device or chosen_device)(self)
        self.create_timer(POLL_PERIOD, self._poll, clock=REAL_TIME)
        self.create_timer(LOOK_PERIOD, self._look, clock=REAL_TIME)

    def _connect(self) -> None:
        """Create publishers, clients and subscriptions; a watching person sends no commands."""
        text = "camera whose images the commands answer"
        camera = parameter(self, "camera", "over_shoulder", text)
        events = topics.TOPIC_EPISODE_EVENT
        self._events = self.create_publisher(EpisodeEvent, events, qos.EVENTS)
        graph = "eval policy:=BUNDLE" if self.watches else "record teleop:=none"
        self._calls = Calls()
        self.scene = SimulatedScene(self, self._calls)
        self.link = ArmLink(self, camera, self._calls, self._show, f"ptr up {graph}")
        self.beginning = EpisodeStart(self, self.link, self.scene, self._show, self._start)
        self._set = DemonstrationSet(self, self.task, self._show)
        subscribe(self, ArmState, topics.TOPIC_ARM_STATE, self._on_state, qos.STATE)
        images = topics.camera_info_topic(camera)
        subscribe(self, CameraInfo, images, self._on_image, qos.IMAGES)
        text = "folder of verdicts.jsonl, for a person who watches"
        folder = parameter(self, "out", "", text)
        self.rollouts = WatchedRollouts(
            lambda: self.episode, self._publish_verdict, self._show, folder
        )
        self.commands = CommandSender(self)
        if self.watches:
            on_event = self._on_episode_event
            subscribe(self, EpisodeEvent, events, on_event, qos.EVENTS)
        else:  # the arm holds when two nodes could command it
            self.commands.open()

    @property
    def recorded(self) -> float | None:
        """Duration of the running episode [s]; None if none is running."""
        return len(self._steps) / CONTROL_RATE if self.episode else None

    @property
    def demonstrations(self) -> list[Demonstration]:
        """The set of demonstrations, in the order of recording."""
        return self._set.demonstrations

    def destroy_node(self) -> None:
        """Discard a running episode, saying so, and disconnect from the device."""
        if self.recorded is not None:
            kind = "rollout" if self.watches else f"recording of {self.recorded:.1f} s"
            self._end(EpisodeEvent.DISCARD, f"thrown away, not saved: the running {kind}")
            self._events.wait_for_all_acked(Duration(seconds=1))
        self.device.close()
        super().destroy_node()

    # --- input of the device --------------------------------------------------------------

    def _poll(self) -> None:
        self._calls.check()
        self._set.check()
        self.link.look()
        self.beginning.check()
        self._input = self.device.read(time.monotonic())
        for button in self._input.buttons:
            if not self.rollouts.judge_other(button):
                self._press(button)

    def _press(self, button: Button) -> None:
        """Do what a button asks for."""
        self.mapper.press(button)
        if button in (Button.FASTER, Button.SLOWER):
            self._show(f"speed: {self.mapper.speed:.0%} of the longest step")
        elif button in SERVICES:
            self._call(button)
        elif button == Button.RECORD:
            self._begin()
        elif button == Button.SAVE:
            judge = partial(self._end, EpisodeEvent.SUCCESS)
            self._if_solved(judge if self.watches else self._save)
        elif button == Button.FAIL:
            text = "" if self.watches else "saved as a failure"
            self._end(EpisodeEvent.FAILURE, text)
        elif button == Button.DISCARD and self.beginning.awaited:
            self.beginning.give_up("you gave up")
        elif button == Button.DISCARD:
            self._end(EpisodeEvent.DISCARD, "discarded")
        elif button == Button.AGAIN:
            self._again()
        elif button == Button.SCENE and (self._running() or self.beginning.awaited):
            self._show("the scene stays as it is: an episode is running")
        elif button == Button.SCENE:
            self.beginning.draw_scene()
        elif button == Button.QUIT:
            signal.raise_signal(signal.SIGINT)

    def _call(self, button: Button) -> None:
        """Call the arm node's service of a button; its answer is shown when it arrives."""
        if button == Button.STOP:
            self.beginning.give_up("you stopped the arm")

        def answered(answer: Answer) -> None:
            if button == Button.HOME and not answer.success:
                self.beginning.give_up("the arm does not go to its start pose")

        if button == Button.HOME and self._running():
            self._show(
                "not during an episode: its commands would be rejected; end it first"
            )
        else:
            self.link.call(button, answered)

    # --- the graph ------------------------------------------------------------------------

    def _look(self) -> None:
        """Recognise a simulated graph, and notice a second arm."""
        if self.beginning.recognise(self.task):
            self.task = self._set.task = self.beginning.task
            self._greet()
        self.link.look_for_arms()

    def _greet(self) -> None:
        """Set up a scene for a person who records, now that the graph is known to be simulated."""
        if not self.watches:
            self.beginning.draw_scene()

    # --- steps ----------------------------------------------------------------------------

    def _on_episode_event(self, event: EpisodeEvent) -> None:
        self.rollouts.on_event(event)

    def _on_state(self, state: ArmState) -> None:
        if self.link.state is None:
            self.mapper.gripper = float(state.proprio[6] > 0.5)
        self.link.on_state(state)
        self.status.on_state(state)

    def _on_image(self, image: CameraInfo) -> None:
        """Send a command if a step falls on the image that this camera info accompanies."""
        self.link.on_image(image)
        state = self.link.state
        if self.watches or state is None or len(self.link.arms) > 1:
            return
        is_due = self._schedule.take(self.link.image_ns)
        if not is_due or not (self.episode or self._input.held):
            return
        action = self.mapper.action(self._input)
        self.device.on_step(action)
        if self.episode:
            self._steps.append((np.asarray(state.proprio), action))
        self.commands.send(action, image.header.stamp)

    # --- begin of an episode --------------------------------------------------------------

    def _begin(self) -> None:
        """Begin an episode once scene and arm are ready, unless something is in the way."""
        if self.beginning.awaited:
            self._show(f"still waiting for {self.beginning.awaited}; 4 gives up")
        elif problem := self._why_not():
            self._show(f"not begun: {problem}")
        else:
            self.beginning.begin()

    def _why_not(self) -> str:
        """Return why no episode can begin now; empty if one can."""
        if self._running():
            ways = "2 saves it as a success, 3 as a failure, 4 discards it"
            return f"an episode is running; {ways}"
        self._look()
        return self.link.obstacle(needs_recorder=not self.watches)

    def _running(self) -> str:
        """Return the episode that runs, here or by somebody else; empty without one."""
        return self.episode or self.rollouts.other

    def _again(self) -> None:
        """Discard what is running; record anew from the start pose, or in the same scene."""
        if self.episode:
            self._end(EpisodeEvent.DISCARD, "discarded")
        if problem := self._why_not():
            self._show(f"not begun: {problem}")
        elif self.beginning.simulated:
            self.beginning.repeat()
        else:
            self.beginning.wait_for_arm()
            self._call(Button.HOME)

    def _start(self) -> None:
        """Begin an episode."""
        self.episode = self._names.next(self.task, self._set.folder)
        self._set.recording = True
        self._steps = []
        self._rejected_before = self.link.rejected
        self._schedule.restart()
        self._publish_event(EpisodeEvent.START)
        self.scene.recorded = True
        name = f"demonstration {len(self.demonstrations) + 1}"
        if self.watches:
            name = f"rollout {len(self.rollouts.verdicts) + 1}"
        self._show(f"{name}: {self.task}")

    # --- end of an episode ----------------------------------------------------------------

    def _if_solved(self, finish: Callable[[], object]) -> None:
        """End an episode as a success, in simulation only if the task is solved.

        Args:
            finish: Ends it.
        """
        episode = self.episode
        if not self.beginning.simulated or not episode:
            finish()
            return

        def answered(answer: Answer) -> None:
            if self.episode != episode:
                return
            if answer.success:
                finish()
                return
            self._show(
                f"NOT SAVED, the simulation says: {answer.message}. It goes on: 2 again once "
                "the object lies still and released in its place, 3 saves it as a failure, "
                "4 discards it"
            )

        self.scene.ask_outcome(answered)

    def _save(self) -> None:
        """End a demonstration as a success and report what the set still lacks."""
        text = f"saved as demonstration {len(self.demonstrations) + 1}"
        if self._end(EpisodeEvent.SUCCESS, text):
            self._set.add(self._steps)
            for sentence in missing_coverage(self.demonstrations):
                self._show(f"  note: {sentence}")

    def _end(self, event: int, text: str = "") -> bool:
        """End the running episode.

        Args:
            event: The end event, one of the constants of `EpisodeEvent`.
            text: Message for the person; empty: how many rollouts succeeded.

        Returns:
            Whether an episode was running and has ended.
        """
        if not self.episode:
            self._show("no episode is running; 1 begins one")
            return False
        saves = event in (EpisodeEvent.SUCCESS, EpisodeEvent.FAILURE)
        if saves and not self.watches and not self.link.has_recorder():
            self._show("NOT SAVED: the recorder is gone; 4 ends the recording")
            return False
        self._publish_event(event)
        if saves:
            self._names.keep(self.episode)
        self.status.ended[topics.END_WORDS[event]] += 1
        if self.watches:
            self.rollouts.keep(self.episode, event, self.task)
            text = text or self.rollouts.text(event)
        self._close_episode(text)
        return True

    def _close_episode(self, text: str) -> None:
        """Have no episode running any more, and tell the person why."""
        self.episode = self.reason = ""
        self._set.recording = False
        if rejected := self.link.rejected - self._rejected_before:
            text = f"{text}; the arm rejected {rejected} of its commands"
        self._show(text)
        self.beginning.draw_scene_later()

    def _publish_event(self, event: int) -> None:
        seed = f", seed {self.scene.seed}" if self.beginning.simulated else ""
        text = f"teleoperation{seed}" + (f": {self.reason}" if self.reason else "")
        self._publish_verdict(self.episode, event, self.task, text)

    def _publish_verdict(self, episode: str, event: int, task: str, text: str = "") -> None:
        message = EpisodeEvent(episode_id=episode, event=event, task=task, text=text)
        message.header.stamp = to_stamp(now_ns(self))
        self._events.publish(message)

    def _health(self) -> Health:
        values = {
            "demonstrations": len(self.demonstrations),
            "rollouts": len(self.rollouts.verdicts),
            "speed": f"{self.mapper.speed:.2f}",
        }
        return Health(
            message="an episode is running" if self.episode else "idle", values=values
        )


def main() -> int:
    """Run the node of a graph, with the device that its parameter names."""
    return run(TeleopNode)


if __name__ == "__main__":
    sys.exit(main())
