"""The server of `run_task` and the recorder over real DDS, beside a robot that a test plays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from probe_rig import ProbeRig
from rclpy.action import ActionClient
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_msgs.action import RunTask
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
from widowx_bringup.recording.recorder_node import RecorderNode
from widowx_bringup.run_task.node import TaskServer

NODES = ("arm_node", "policy_node", "camera_node")
CAMERA = "over_shoulder"


class TaskRig(ProbeRig):
    """A robot without a simulation: its nodes answer, and say what the test makes them say.

    Args:
        folder: Receives the bags.
    """

    def __init__(self, folder: Path) -> None:
        names = ",".join(f'"/{name}"' for name in (*NODES, "recorder_node"))
        rclpy.init(
            args=["--ros-args", "-p", f"nodes:=[{names}]", "-p", f"directory:={folder}"]
        )
        self.recorder = RecorderNode()
        self.node = TaskServer()
        self.folder = folder
        self.probe = rclpy.create_node("robot")
        self.reset()
        self._connect()
        self.add_nodes()
        self.executor.add_node(self.recorder)
        self.client = ActionClient(self.probe, RunTask, "run_task")
        self.until(self.client.server_is_ready)

    def reset(self) -> None:
        """Let the robot be as at its start, with a folder without bags."""
        self.status, self.reason, self.held = ArmState.STATUS_OK, "", 0
        self.alive = set(NODES)
        self.policy_refuses = ""
        self.episode = ""
        self.heard: list[EpisodeEvent] = []
        self.calls: list[str] = []
        self.feedback: list[RunTask.Feedback] = []
        for bag in self.folder.iterdir():
            shutil.rmtree(bag)

    def arm_is_well(self) -> bool:
        """Return whether the server has a state of an arm that has never held."""
        arm = self.node._link.view.arm
        return arm is not None and arm.held == 0 and arm.status == ArmState.STATUS_OK

    def rest(self) -> None:
        """End what runs, and wait until server and recorder are idle."""
        if self.episode:
            self.publish(EpisodeEvent.STOP, self.episode)
        self.until(lambda: self.node._episode is None and not self.node._link.running)
        self.until(lambda: not self.recorder._episode and not self.episode)
        finishing = self.recorder._finishing
        self.until(lambda: not any(writer.running for writer in finishing))

    def _connect(self) -> None:
        make = self.probe.create_publisher
        self.arm = make(ArmState, "arm/state", qos.STATE)
        self.policy = make(PolicyState, "policy/state", qos.STATE)
        self.executed = make(EefCommand, "arm/executed", qos.COMMANDS)
        self.info = make(CameraInfo, f"camera/{CAMERA}/camera_info", qos.IMAGES)
        self.image = make(Image, f"camera/{CAMERA}/image_raw", qos.IMAGES)
        self.diagnostics = make(DiagnosticArray, "/diagnostics", qos.STATE)
        self.events = make(EpisodeEvent, "episode/event", qos.EVENTS)
        for _ in range(2):  # arm and policy hear them
            self.probe.create_subscription(
                EpisodeEvent, "episode/event", self._on_event, qos.EVENTS
            )
        for name in ("arm/hold", "arm/go_to_start"):
            self.probe.create_service(
                Trigger, name, lambda _, answer, name=name: self._serve(name, answer)
            )
        self.probe.create_timer(0.05, self._say)

    def _serve(self, name: str, answer: Trigger.Response) -> Trigger.Response:
        self.calls.append(name)
        answer.success, answer.message = True, name
        return answer

    def _on_event(self, event: EpisodeEvent) -> None:
        if event in self.heard:
            return
        self.heard.append(event)
        self.episode = event.episode_id if event.event == EpisodeEvent.START else ""

    def _say(self) -> None:
        """Publish everything once."""
        stamp = self.probe.get_clock().now().to_msg()
        arm = ArmState(status=self.status, reason=self.reason, held=self.held)
        acting = self.episode and not self.policy_refuses
        policy = PolicyState(
            q_values=[0.25, 0.5],
            status=PolicyState.STATUS_ACTING if acting else PolicyState.STATUS_IDLE,
        )
        for message in (arm, policy, info := CameraInfo(), image := Image()):
            message.header.stamp = stamp
        self.arm.publish(arm)
        self.info.publish(info)
        self.image.publish(image)
        self.policy.publish(policy)
        if acting:
            self.executed.publish(EefCommand())
        entries = [self._entry(name) for name in NODES if name in self.alive]
        self.diagnostics.publish(DiagnosticArray(status=entries))

    def _entry(self, name: str) -> DiagnosticStatus:
        values = {}
        status = DiagnosticStatus(name=f"/{name}")
        if name == "arm_node":
            values = {"held": str(self.held), "holding": "camera"}
        if name == "policy_node" and self.policy_refuses and self.episode:
            status.level, status.message = DiagnosticStatus.ERROR, self.policy_refuses
            values = {"episode": self.episode}
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        return status

    # --- goals ----------------------------------------------------------------------------

    def send(self, **fields: Any) -> Any:
        """Send a goal and return its handle once it is accepted or rejected."""
        goal = RunTask.Goal(**{"task": "stir", "time_limit": 60.0, **fields})
        future = self.client.send_goal_async(
            goal, lambda message: self.feedback.append(message.feedback)
        )
        self.until(future.done)
        return future.result()

    def begin(self, **fields: Any) -> Any:
        """Send a goal and return its handle once its episode runs and commands are executed."""
        handle = self.send(**fields)
        assert handle.accepted
        self.until(lambda: self.feedback and self.feedback[-1].step > 1)
        return handle

    def result(self, handle: Any) -> Any:
        """Return status and result of a goal."""
        future = handle.get_result_async()
        self.until(future.done)
        return future.result()

    def publish(self, event: int, episode_id: str, text: str = "") -> None:
        """Publish an event of an episode, as a person would."""
        message = EpisodeEvent(episode_id=episode_id, event=event, task="stir", text=text)
        message.header.stamp = self.probe.get_clock().now().to_msg()
        self.events.publish(message)

    def close(self) -> None:
        """Destroy all nodes."""
        self.recorder.destroy_node()
        super().close()
        rclpy.shutdown()
