"""The node `scripted_teleop`: demonstrates in the simulation, with access to the true scene."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, JointState

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_common.managed_node import (
    Health,
    MessageError,
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
    TOPIC_EPISODE_EVENT,
    camera_info_topic,
    robot_frame,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_policy_node.observation import ArmObservation, ObservationBuffer, StepSchedule
from widowx_bringup.camera.protocol import TOPIC_WORLD

from .mistakes import ImperfectDemonstrator, Mistakes
from .tasks import TaskError, expert
from .world import World

KEPT_STATES = 30
"""World states kept until the image that shows them arrives."""


class ScriptedTeleop(Node):
    """Publishes commands between the START of an episode and its end, one per control period.

    Each command answers an image: the expert sees the world state that the image shows.
    """

    def __init__(self, **options: Any) -> None:
        """Declare the parameters and subscribe.

        Args:
            options: Passed on to `rclpy.node.Node`.
        """
        super().__init__("scripted_teleop", **options)
        self._world = World()
        self._expert: ImperfectDemonstrator | None = None
        self._episode = ""  # id of the newest episode
        self._started = 0  # episodes so far; each has mistakes of its own
        self._states: OrderedDict[int, JointState] = OrderedDict()  # newest ones by stamp
        self._inputs = ObservationBuffer(max_image_age=0.2, max_state_age=0.2)
        self._schedule = StepSchedule(CONTROL_RATE)
        self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
        camera = parameter(
            self, "camera", "over_shoulder", "camera whose images the commands answer"
        )
        waits = "share of the gripper's changes before which the demonstrator waits"
        misses = "share of the descents on which it closes the gripper too early"
        drops = "share of the carries on which it opens the gripper too early"
        self._mistakes = Mistakes(
            waits=parameter(self, "waits", 0.0, waits, (0.0, 0.9)),
            misses=parameter(self, "misses", 0.0, misses, (0.0, 0.9)),
            drops=parameter(self, "drops", 0.0, drops, (0.0, 0.9)),
        )
        subscribe(self, JointState, TOPIC_WORLD, self._on_world, qos.STATE)
        subscribe(self, CameraInfo, camera_info_topic(camera), self._on_image, qos.IMAGES)
        subscribe(self, ArmState, TOPIC_ARM_STATE, self._on_arm, qos.STATE)
        subscribe(self, EpisodeEvent, TOPIC_EPISODE_EVENT, self._on_event, qos.EVENTS)
        publish_diagnostics(self, "teleoperation", self._health)

    def _health(self) -> Health:
        return Health(message="demonstrating" if self._expert is not None else "idle")

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.START:
            self._start(event)
        elif event.episode_id == self._episode:
            self._expert = None

    def _start(self, event: EpisodeEvent) -> None:
        """Begin to demonstrate the task of an episode, if it is one of the simulator's."""
        try:
            act = expert(self._world, event.task)
        except TaskError as error:
            self._expert = None
            self.get_logger().error(str(error))
            return

        rng = np.random.default_rng(self._started)
        self._started += 1
        self._expert = ImperfectDemonstrator(act, self._mistakes, rng)
        self._episode = event.episode_id
        self._inputs.start(to_ns(event.header.stamp))
        self._schedule.restart()

    def _on_arm(self, state: ArmState) -> None:
        problem = "" if state.status == ArmState.STATUS_OK else f"arm: {state.reason}"
        self._inputs.add_arm(
            ArmObservation(to_ns(state.header.stamp), np.asarray(state.proprio), problem)
        )

    def _on_world(self, message: JointState) -> None:
        """Keep a world state until the image with its stamp arrives.

        Raises:
            MessageError: If it is none of this world.
        """
        try:
            self._world.set_state(np.asarray(message.position))
        except PtrError as error:
            raise MessageError(str(error)) from error
        self._states[to_ns(message.header.stamp)] = message
        while len(self._states) > KEPT_STATES:
            self._states.popitem(last=False)

    def _on_image(self, info: CameraInfo) -> None:
        """Publish a command for the scene of an image, if one is due.

        Args:
            info: Calibration message of the image, with the same stamp.
        """
        stamp_ns = to_ns(info.header.stamp)
        self._inputs.image_ns = stamp_ns
        state = self._states.get(stamp_ns)
        if self._expert is None or state is None or self._inputs.problem(now_ns(self)):
            return
        if not self._schedule.take(stamp_ns):
            return

        self._world.set_state(np.asarray(state.position), state.header.frame_id)
        assert self._inputs.arm is not None
        action = self._expert.act(self._inputs.arm.proprio)
        command = EefCommand(
            action=action,
            source=EefCommand.SOURCE_SCRIPT,
            observation_stamp=info.header.stamp,
        )
        command.header.stamp = to_stamp(now_ns(self))
        command.header.frame_id = robot_frame(self.get_namespace(), BASE_FRAME)
        self._commands.publish(command)


def main() -> int:
    """Run the scripted teleoperator."""
    return run(ScriptedTeleop)


if __name__ == "__main__":
    sys.exit(main())
