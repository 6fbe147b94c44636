"""Teleoperation: a person's device on the ROS graph, and the episodes that the person records or judges with it.

    ptr teleop --task "put the yellow cube on the white plate"      # keyboard, in a
    terminal, also over SSH ptr teleop --watch --task …       # a policy moves the arm; the
    keys stop it, begin rollouts and judge them

Like every other demonstrator it takes a step on the camera's picture that is nearest to the
control period, so that each command answers a picture. In an episode a command is sent for
each step, of no motion while the dead-man switch is not held; outside of one only while it
is held.
"""

from __future__ import annotations

import argparse
import os
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
from rclpy.parameter import Parameter
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
    to_ns,
    to_stamp,
)
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_DIAGNOSTICS,
    TOPIC_EPISODE_EVENT,
    camera_info_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_policy_node.observation import StepSchedule
from widowx_bringup.graph.environment import environment

from .devices import DEVICES, Device, Keyboard
from .mapping import (
    FASTEST,
    SLOWEST,
    Button,
    Demonstration,
    TeleopInput,
    TeleopMapper,
    lacking,
    recorded,
)

POLL_PERIOD = 0.02
"""The device is asked this often [s]."""

WATCH_HELP = """\
  SPACE  STOP the arm (e: go on)     h  start pose     1  begin a rollout
  2  it succeeded     3  it failed     4  discard it     q  quit
"""

HELP = """\
  w s  forward, back      r f  up, down       o u  roll      1  record     4  discard
  a d  left, right        g    gripper        i k  pitch     2  save       5  discard, start pose, record anew
  + -  faster, slower     h    start pose     j l  yaw       3  save as a failure
  SPACE  STOP the arm (e: go on)                                          q  quit
"""


class TeleopNode(Node):
    """Publishes what a person wants, begins and ends episodes, and says what the set of demonstrations lacks."""

    def __init__(
        self,
        make_device: Callable[[Node], Device] | None = None,
        show: Callable[[str], object] = print,
        **options: Any,
    ) -> None:
        super().__init__("teleop_node", **options)
        camera = parameter(
            self, "camera", "over_shoulder", "camera whose pictures the commands answer"
        )
        self.task = parameter(self, "task", "", "what is demonstrated")
        speed = parameter(
            self,
            "speed",
            0.4,
            "speed at first, as a part of the longest step",
            (SLOWEST, FASTEST),
        )
        self.watches = parameter(
            self,
            "watch",
            False,
            "whether a policy moves the arm and the person only judges it",
        )
        self.pilot = TeleopMapper(speed)
        self.verdicts: list[bool] = []  # of the rollouts watched
        self.demonstrations: list[Demonstration] = []
        self._bags: Path | None = None  # where the recorder keeps them, once it has said so
        self.episode = ""  # id of the running one
        self._show = show
        self._wish = TeleopInput()
        self._rows: list[
            tuple[np.ndarray, np.ndarray]
        ] = []  # proprio and action of the running episode
        self._state: ArmState | None = None
        self._told = ""
        self._again = (
            ""  # "called" or "moving" on the way to the start pose, to record anew there
        )
        self._schedule = StepSchedule(CONTROL_RATE)
        self._events = self.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._triggers = {
            press: self.create_client(Trigger, name)
            for press, name in (
                (Button.STOP, "arm/hold"),
                (Button.ENABLE, "arm/enable"),
                (Button.HOME, "arm/go_to_start"),
            )
        }
        self.create_subscription(ArmState, TOPIC_ARM_STATE, self._on_state, qos.STATE)
        if not self.watches:  # the arm holds when it has two who could command it
            self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
            self.create_subscription(
                CameraInfo, camera_info_topic(camera), self._on_picture, qos.IMAGES
            )
            self.create_subscription(
                DiagnosticArray, TOPIC_DIAGNOSTICS, self._on_diagnostics, qos.STATE
            )
        publish_diagnostics(self, "teleoperation", self._health)
        self.device = (make_device or self._chosen)(self)
        self.create_timer(POLL_PERIOD, self._poll)

    def _chosen(self, node: Node) -> Device:
        kind = parameter(
            node, "device", "gamepad", f"what the person holds: {', '.join(DEVICES)}"
        )
        if kind not in DEVICES:
            raise PtrError(
                f"device {kind!r} is none of {', '.join(DEVICES)}; the keyboard is `ptr teleop`"
            )
        return DEVICES[kind](node)

    def destroy_node(self) -> None:
        """Discard a running episode and give the device back."""
        if self.episode:
            self._end(EpisodeEvent.DISCARD, "teleoperation ended")
        self.device.close()
        super().destroy_node()

    # --- what the person wants ------------------------------------------------------------------------------

    def _poll(self) -> None:
        self._wish = self.device.read(time.monotonic())
        for press in self._wish.presses:
            self._press(press)

    def _press(self, press: Button) -> None:
        self.pilot.press(press)
        if press in self._triggers:
            self._call(press)
        elif press == Button.RECORD:
            self._begin()
        elif press in (Button.SAVE, Button.FAIL) and self.watches:
            self._judge(press == Button.SAVE)
        elif press == Button.SAVE:
            self._save()
        elif press == Button.FAIL:
            self._end(EpisodeEvent.FAILURE, "saved as a failure")
        elif press == Button.DISCARD:
            self._end(EpisodeEvent.DISCARD, "discarded")
        elif press == Button.AGAIN:
            self._end(EpisodeEvent.DISCARD, "discarded")
            self._again = "called"
            self._call(Button.HOME)
        elif press == Button.QUIT:
            signal.raise_signal(signal.SIGINT)

    def _call(self, press: Button) -> None:
        client = self._triggers[press]
        if not client.service_is_ready():
            self._say(f"{client.srv_name}: no arm node answers")
            return
        client.call_async(Trigger.Request()).add_done_callback(
            lambda future: self._say(future.result().message)
        )

    # --- steps ----------------------------------------------------------------------------------------------

    def _on_state(self, state: ArmState) -> None:
        problem = state.reason if state.status != ArmState.STATUS_OK else ""
        if problem and problem != self._told:
            self._say(f"the arm holds: {problem}")
        self._told = problem
        if self._state is None:
            self.pilot.gripper = float(state.proprio[6] > 0.5)
        self._state = state
        if self._again == "called" and state.reason:
            self._again = "moving"
        elif self._again == "moving" and not state.reason:
            self._again = ""
            self._begin()

    def _on_picture(self, picture: CameraInfo) -> None:
        if self._state is None or not self._schedule.take(to_ns(picture.header.stamp)):
            return
        if not (self.episode or self._wish.held):
            return
        action = self.pilot.action(self._wish)
        self.device.took(action)
        if self.episode:
            self._rows.append((np.asarray(self._state.proprio), action))
        command = EefCommand(
            action=action,
            source=EefCommand.SOURCE_TELEOP,
            observation_stamp=picture.header.stamp,
        )
        command.header.stamp = to_stamp(now_ns(self))
        command.header.frame_id = BASE_FRAME
        self._commands.publish(command)

    # --- episodes -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self.episode:
            self._say(
                "an episode is running; 2 saves it as a success, 3 as a failure, 4 discards it"
            )
            return
        if self._state is None or self._state.status != ArmState.STATUS_OK:
            self._say("not begun: the arm holds; e lets it go on")
            return
        self.episode, self._rows = str(uuid.uuid4()), []
        self._schedule.restart()
        self._publish(EpisodeEvent.START)
        what = (
            f"rollout {len(self.verdicts) + 1}"
            if self.watches
            else f"recording number {len(self.demonstrations) + 1}"
        )
        self._say(f"{what}: {self.task}")

    def _save(self) -> None:
        if self.episode and self._rows:
            proprio, actions = (np.array(each) for each in zip(*self._rows, strict=True))
            self.demonstrations.append(Demonstration(proprio, actions))
        if self._end(EpisodeEvent.SUCCESS, f"saved number {len(self.demonstrations)}"):
            for line in lacking(self.demonstrations):
                self._show(f"  the set lacks: {line}")

    def _judge(self, success: bool) -> None:
        verdicts = [*self.verdicts, success]
        words = f"{'success' if success else 'failure'}: {sum(verdicts)} of {len(verdicts)} rollouts succeeded"
        if self._end(EpisodeEvent.SUCCESS if success else EpisodeEvent.FAILURE, words):
            self.verdicts = verdicts

    def _end(self, event: int, words: str) -> bool:
        """End the running episode; return whether there was one."""
        if not self.episode:
            self._say("no episode is running; 1 begins one")
            return False
        self._publish(event)
        self.episode = ""
        self._say(words)
        return True

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        """Learn from the recorder where its bags are; those recorded earlier belong to the set as well."""
        if self._bags is not None:
            return
        for status in message.status:
            if status.name == f"{self.get_namespace().rstrip('/')}/recorder_node":
                self._bags = Path(
                    next(
                        (each.value for each in status.values if each.key == "directory"),
                        "",
                    )
                )
                threading.Thread(
                    target=self._read_earlier, name="earlier bags", daemon=True
                ).start()

    def _read_earlier(self) -> None:
        assert self._bags is not None
        known = len(self.demonstrations)  # those are bags by now as well
        if earlier := recorded(self._bags, self.task):
            self.demonstrations = [*earlier, *self.demonstrations[known:]]
            self._say(f"{len(earlier)} demonstrations were recorded in {self._bags} before")

    def _publish(self, event: int) -> None:
        message = EpisodeEvent(
            episode_id=self.episode, event=event, task=self.task, text="teleoperation"
        )
        message.header.stamp = to_stamp(now_ns(self))
        self._events.publish(message)

    def _say(self, words: str) -> None:
        self._show(words)

    def _health(self) -> Health:
        counts = {
            "demonstrations": len(self.demonstrations),
            "rollouts": len(self.verdicts),
        }
        message = "an episode is running" if self.episode else "idle"
        return Health(
            message=message, values={**counts, "speed": f"{self.pilot.speed:.2f}"}
        )


def main(argv: list[str]) -> int:
    """Move the arm with the keyboard, and record demonstrations with single keys."""
    parser = argparse.ArgumentParser(
        prog="ptr teleop",
        description="Move the arm with the keyboard of this terminal, beside a running graph "
        "(`ptr up record teleop:=none`, or teleop_record.launch.py); or watch a policy do it (`ptr up eval`, "
        "ptr_eval.launch.py).",
        epilog=f"{HELP}\nwith --watch:\n{WATCH_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--task", required=True, help="what is demonstrated")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="a policy moves the arm; begin, judge and stop its rollouts",
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=0.4,
        help="at first, of the longest step (default: %(default)s)",
    )
    parser.add_argument(
        "--camera",
        default="over_shoulder",
        help="whose pictures it answers (default: %(default)s)",
    )
    parser.add_argument(
        "--robot-name",
        default="wx250s",
        help="namespace of the graph (default: %(default)s)",
    )
    parser.add_argument(
        "--simulated", action="store_true", help="the graph's arm and time are simulated"
    )
    options = parser.parse_args(argv)
    os.environ.update(environment({"use_sim": str(options.simulated).lower()}))
    parameters = {
        name: getattr(options, name) for name in ("task", "speed", "camera", "watch")
    }
    parameters["use_sim_time"] = options.simulated
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    print(f"{WATCH_HELP if options.watch else HELP}\ntask: {options.task}", flush=True)
    return run(
        lambda: TeleopNode(
            Keyboard, print, namespace=options.robot_name, parameter_overrides=overrides
        ),
        arguments=[],
    )


def node_main() -> int:
    """Run the node of a graph, with the device that its parameter names."""
    return run(TeleopNode)


if __name__ == "__main__":
    sys.exit(node_main())
