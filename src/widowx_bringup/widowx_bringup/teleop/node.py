"""Teleoperation: a person's device on the ROS graph, and the episodes of that person.

As with every other source of commands, a step falls on the image nearest to the control
period, so that each command answers an image. In an episode every step sends a command,
without motion while the dead-man switch is not held; outside of an episode only a held switch
sends commands.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_common.managed_node import (
    Health,
    now_ns,
    parameter,
    publish_diagnostics,
    run,
    subscribe,
    to_ns,
    to_stamp,
)
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_DIAGNOSTICS,
    TOPIC_EPISODE_EVENT,
    camera_info_topic,
    robot_frame,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_policy_node.observation import StepSchedule

from .coverage import Demonstration, missing_coverage, read_demonstrations
from .devices import DEVICES, Device
from .mapping import FASTEST, SLOWEST, SPEED, Button, TeleopInput, TeleopMapper

POLL_PERIOD = 0.02
"""Time between two inputs of the device [s]."""

SERVICES = {
    Button.STOP: "arm/hold",
    Button.ENABLE: "arm/enable",
    Button.HOME: "arm/go_to_start",
}
"""Service of the arm node that a button calls."""


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
        verdicts: Success of each rollout that was watched.
        demonstrations: The set of demonstrations, in the order of recording.
        episode: Identifier of the running episode; empty if none is running.
    """

    def __init__(
        self,
        make_device: Callable[[Node], Device] | None = None,
        show: Callable[[str], object] = print,
        **options: Any,
    ) -> None:
        super().__init__("teleop_node", **options)
        self._show = show
        self.task = parameter(self, "task", "", "name of the task")
        speed = parameter(
            self,
            "speed",
            SPEED,
            "speed at the start, as a fraction of the longest step",
            (SLOWEST, FASTEST),
        )
        self.watches = parameter(
            self,
            "watch",
            False,
            "whether a policy moves the arm and the person only judges it",
        )
        self.mapper = TeleopMapper(speed)
        self.verdicts: list[bool] = []
        self.demonstrations: list[Demonstration] = []
        self.episode = ""
        self._input = TeleopInput()
        # Proprioception and action, (7,) each, of the running episode.
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []
        self._state: ArmState | None = None
        self._last_refusal = ""  # reason of the newest state, if the arm holds
        self._restart = ""  # "called" or "moving" on the way to the start pose of AGAIN
        self._bags: Path | None = None  # the recorder's folder, once it is known
        self._known = 0  # demonstrations that are in that folder as well
        self._earlier: list[Demonstration] = []  # read from that folder, not yet in the set
        self._schedule = StepSchedule(CONTROL_RATE)
        self._connect()
        publish_diagnostics(self, "teleoperation", self._health)
        self.device = (make_device or self._make_device)(self)
        self.create_timer(POLL_PERIOD, self._poll)

    def _connect(self) -> None:
        """Create publishers, clients and subscriptions; a watching person sends no commands."""
        camera = parameter(
            self, "camera", "over_shoulder", "camera whose images the commands answer"
        )
        self._events = self.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._trigger_clients = {}
        for button, name in SERVICES.items():
            self._trigger_clients[button] = self.create_client(Trigger, name)
        subscribe(self, ArmState, TOPIC_ARM_STATE, self._on_state, qos.STATE)
        if self.watches:  # the arm holds when two nodes could command it
            return

        self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
        subscribe(self, CameraInfo, camera_info_topic(camera), self._on_image, qos.IMAGES)
        subscribe(self, DiagnosticArray, TOPIC_DIAGNOSTICS, self._on_diagnostics, qos.STATE)

    def _make_device(self, node: Node) -> Device:
        kinds = ", ".join(DEVICES)
        kind = parameter(node, "device", "gamepad", f"device of the person: {kinds}")
        if kind not in DEVICES:
            raise PtrError(
                f"parameter device is {kind!r}; choose one of {kinds}; "
                "the keyboard needs a terminal: run `ptr teleop`"
            )
        return DEVICES[kind](node)

    def destroy_node(self) -> None:
        """Discard a running episode and disconnect from the device."""
        if self.episode:
            self._end(EpisodeEvent.DISCARD, "teleoperation ended")

        self.device.close()
        super().destroy_node()

    # --- input of the device --------------------------------------------------------------

    def _poll(self) -> None:
        if self._earlier:
            self._add_earlier()

        self._input = self.device.read(time.monotonic())
        for button in self._input.buttons:
            self._press(button)

    def _press(self, button: Button) -> None:
        """Do what a button asks for."""
        self.mapper.press(button)
        if button in self._trigger_clients:
            self._call(button)
        elif button == Button.RECORD:
            self._begin()
        elif button in (Button.SAVE, Button.FAIL) and self.watches:
            self._judge(button == Button.SAVE)
        elif button == Button.SAVE:
            self._save()
        elif button == Button.FAIL:
            self._end(EpisodeEvent.FAILURE, "saved as a failure")
        elif button == Button.DISCARD:
            self._end(EpisodeEvent.DISCARD, "discarded")
        elif button == Button.AGAIN:
            self._end(EpisodeEvent.DISCARD, "discarded")
            self._restart = "called"
            self._call(Button.HOME)
        elif button == Button.QUIT:
            signal.raise_signal(signal.SIGINT)

    def _call(self, button: Button) -> None:
        """Call the arm node's service of a button; its answer is shown when it arrives."""
        client = self._trigger_clients[button]
        if not client.service_is_ready():
            self._show(f"{client.srv_name}: no arm node answers")
            return
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda done: self._show(done.result().message))

    # --- steps ----------------------------------------------------------------------------

    def _on_state(self, state: ArmState) -> None:
        refusal = state.reason if state.status != ArmState.STATUS_OK else ""
        if refusal and refusal != self._last_refusal:
            self._show(f"the arm holds: {refusal}")
        self._last_refusal = refusal
        if self._state is None:
            self.mapper.gripper = float(state.proprio[6] > 0.5)

        self._state = state
        if self._restart == "called" and state.reason:
            self._restart = "moving"
        elif self._restart == "moving" and not state.reason:
            self._restart = ""
            self._begin()

    def _on_image(self, image: CameraInfo) -> None:
        """Send a command if a step falls on the image that this camera info accompanies."""
        if self._state is None or not self._schedule.take(to_ns(image.header.stamp)):
            return
        if not (self.episode or self._input.held):
            return

        action = self.mapper.action(self._input)
        self.device.on_step(action)
        if self.episode:
            self._steps.append((np.asarray(self._state.proprio), action))
        command = EefCommand(
            action=action,
            source=EefCommand.SOURCE_TELEOP,
            observation_stamp=image.header.stamp,
        )
        command.header.stamp = to_stamp(now_ns(self))
        command.header.frame_id = robot_frame(self.get_namespace(), BASE_FRAME)
        self._commands.publish(command)

    # --- episodes -------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin an episode, unless one is running or the arm holds."""
        if self.episode:
            self._show(
                "an episode is running; "
                "2 saves it as a success, 3 as a failure, 4 discards it"
            )
            return

        if self._state is None or self._state.status != ArmState.STATUS_OK:
            self._show("not begun: the arm holds; e enables it")
            return

        self.episode = str(uuid.uuid4())
        self._steps = []
        self._schedule.restart()
        self._publish_event(EpisodeEvent.START)
        name = f"demonstration {len(self.demonstrations) + 1}"
        if self.watches:
            name = f"rollout {len(self.verdicts) + 1}"
        self._show(f"{name}: {self.task}")

    def _save(self) -> None:
        """End a demonstration as a success and report what the set still lacks."""
        if self.episode and self._steps:
            proprio = np.array([step[0] for step in self._steps])
            actions = np.array([step[1] for step in self._steps])
            self.demonstrations.append(Demonstration(proprio, actions))
        text = f"saved as demonstration {len(self.demonstrations)}"
        if self._end(EpisodeEvent.SUCCESS, text):
            for sentence in missing_coverage(self.demonstrations):
                self._show(f"  note: {sentence}")

    def _judge(self, success: bool) -> None:
        """End a watched rollout with the person's verdict."""
        verdicts = [*self.verdicts, success]
        name = "success" if success else "failure"
        text = f"{name}: {sum(verdicts)} of {len(verdicts)} rollouts succeeded"
        event = EpisodeEvent.SUCCESS if success else EpisodeEvent.FAILURE
        if self._end(event, text):
            self.verdicts = verdicts

    def _end(self, event: int, text: str) -> bool:
        """End the running episode.

        Args:
            event: The end event, one of the constants of `EpisodeEvent`.
            text: Message for the person.

        Returns:
            Whether an episode was running.
        """
        if not self.episode:
            self._show("no episode is running; 1 begins one")
            return False

        self._publish_event(event)
        self.episode = ""
        self._show(text)
        return True

    def _publish_event(self, event: int) -> None:
        message = EpisodeEvent(
            episode_id=self.episode, event=event, task=self.task, text="teleoperation"
        )
        message.header.stamp = to_stamp(now_ns(self))
        self._events.publish(message)

    # --- earlier demonstrations, diagnostics ----------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        """Read the earlier demonstrations once the recorder has published its folder."""
        if self._bags is not None:
            return
        recorder = f"{self.get_namespace().rstrip('/')}/recorder_node"
        for status in message.status:
            if status.name == recorder:
                values = {entry.key: entry.value for entry in status.values}
                self._bags = Path(values.get("directory", ""))
                self._known = len(self.demonstrations)
                threading.Thread(
                    target=self._read_earlier, name="earlier bags", daemon=True
                ).start()

    def _read_earlier(self) -> None:
        """Read the recorder's folder; `_poll` adds the demonstrations in the node's thread."""
        assert self._bags is not None
        self._earlier = read_demonstrations(self._bags, self.task)

    def _add_earlier(self) -> None:
        earlier = self._earlier
        self._earlier = []
        self.demonstrations = [*earlier, *self.demonstrations[self._known :]]
        self._show(f"{len(earlier)} demonstrations were already in {self._bags}")

    def _health(self) -> Health:
        message = "an episode is running" if self.episode else "idle"
        values = {
            "demonstrations": len(self.demonstrations),
            "rollouts": len(self.verdicts),
            "speed": f"{self.mapper.speed:.2f}",
        }
        return Health(message=message, values=values)


def main() -> int:
    """Run the node of a graph, with the device that its parameter names."""
    return run(TeleopNode)


if __name__ == "__main__":
    sys.exit(main())
