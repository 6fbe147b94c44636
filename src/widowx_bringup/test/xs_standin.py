"""A stand-in for Interbotix's driver node xs_sdk over the simulated arm, misbehaviour included.

    python src/widowx_bringup/test/xs_standin.py --ros-args -r __ns:=/wx250s

What it does wrong is chosen by `misbehave` or by a text on the topic `standin/fault`,
"NAME" or "NAME JOINT"; "none" ends it:

- `read_failure`: the bus cannot be read, so every joint reads -pi with a fresh stamp, and
registers read as nothing.
- `unplugged`: that, and no command reaches a servo; the servos hold their last goal.
- `silent`: no joint states at all, as after a crash.
- `malformed`: joint states that cannot be decoded.
- `early`: joint states stamped half a second in the future.
- `lost_motor JOINT`: a servo has shut itself off for overload: limp, deaf, an error in its
register, no current.
- `reboot JOINT`: a servo is rebooted and then on again. Meanwhile the bus cannot be read,
  and afterwards its profile registers are 0, which means as fast as it can.
- `torque_off`: all servos limp.
- `slow_services`: each service takes two seconds, in which the one thread does nothing
else.
- `hot JOINT`: an effort beyond what is healthy.
- `mended`: all servos are on again where they were at the beginning, and nothing is wrong
any more.

And always, as the real one: a command that is not a number means 0 rad, and a group command
of another length is dropped.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import (
    MotorGains,
    OperatingModes,
    Reboot,
    RegisterValues,
    RobotInfo,
    TorqueEnable,
)
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from ptr_common.action_space import JOINT_NAMES
from ptr_common.managed_node import run
from widowx_bringup.arm.gripper import motor_angle
from widowx_bringup.arm.limits import JOINT_HIGH, JOINT_LOW
from widowx_bringup.sim.tasks import sample_layout
from widowx_bringup.sim.world import World

RATE = 100.0
"""Joint states a second."""

MOTORS = (*JOINT_NAMES, "gripper")
IDS = (1, 2, 4, 6, 7, 8, 9)
SHADOWS = {"shoulder": "shoulder_shadow", "elbow": "elbow_shadow"}
"""Servos that listen to another one; none is in a group or a joint state."""

SLEEP = (0.0, -1.80, 1.55, 0.0, 0.8, 0.0)
UP = (0.0, 0.0, 0.2, 0.0, 1.37, 0.0)
OVERLOAD = 1 << 5
MILLIAMPERE_PER_NEWTON_METRE = np.array(
    [560, 280, 280, 560, 560, 560]
)  # two servos share shoulder and elbow
STALL = 2300.0  # [mA]
SLOW = 2.0
EARLY = Duration(seconds=0.5)
REBOOT = 0.3  # [s]


@dataclass
class Motor:
    """RAM of one servo."""

    mode: str
    torque: int = 1
    profile_velocity: int = 2000  # as Interbotix's modes.yaml has it
    profile_acceleration: int = 300
    error: int = 0

    def reboot(self) -> None:
        """Forget everything."""
        self.torque, self.profile_velocity, self.profile_acceleration, self.error = (
            0,
            0,
            0,
            0,
        )


REGISTERS = {
    "Profile_Velocity": "profile_velocity",
    "Profile_Acceleration": "profile_acceleration",
    "Torque_Enable": "torque",
    "Hardware_Error_Status": "error",
}


class XsStandIn(Node):
    """Plays xs_sdk with a simulated wx250s.

    Args:
        start: Joints at the beginning [rad].
        time_passes: Whether a timer lets simulated time pass; a test may do it itself, by
        `tick`.
    """

    def __init__(
        self, start: Any = SLEEP, *, time_passes: bool = True, **options: Any
    ) -> None:
        super().__init__("xs_sdk", **options)
        self.world = World()
        self.world.reset(sample_layout("put the yellow cube on the white plate", 0))
        self._start = np.array(start, dtype=float)
        self.world.place_arm(self._start)
        self._gains = (
            self.world.model.actuator_gainprm.copy(),
            self.world.model.actuator_biasprm.copy(),
        )
        self.motors = {
            name: Motor("position" if name != "gripper" else "pwm")
            for name in (*MOTORS, *SHADOWS.values())
        }
        self.fault, self.faulty = "none", ""
        self.commands: list[np.ndarray] = []  # all that came for the arm
        self.effort = 0.0  # of the gripper, as commanded
        self._rebooted = -REBOOT  # when a servo last was, on the monotonic clock
        self._apply()
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self.create_subscription(
            JointGroupCommand, "commands/joint_group", self._on_group, 10
        )
        self.create_subscription(
            JointSingleCommand, "commands/joint_single", self._on_single, 10
        )
        self.create_subscription(
            String, "standin/fault", lambda text: self.misbehave(*text.data.split()), 10
        )
        answers = {
            "set_operating_modes": (OperatingModes, self._set_operating_modes),
            "set_motor_pid_gains": (MotorGains, lambda request, response: response),
            "set_motor_registers": (RegisterValues, self._set_registers),
            "get_motor_registers": (RegisterValues, self._get_registers),
            "get_robot_info": (RobotInfo, self._info),
            "torque_enable": (TorqueEnable, self._torque),
            "reboot_motors": (Reboot, self._reboot),
        }
        for name, (kind, answer) in answers.items():
            self.create_service(kind, name, self._slowly(answer))
        if time_passes:
            self.create_timer(1 / RATE, self.tick)

    # --- faults ---

    def misbehave(self, fault: str, joint: str = "") -> None:
        """Begin to do something wrong, or end it with "none"."""
        self.fault, self.faulty = fault, joint
        if fault == "lost_motor":
            self.motors[joint].torque, self.motors[joint].error = 0, OVERLOAD
        elif fault == "reboot":
            self._reboot_motor(joint)
            self.motors[joint].torque = 1
        elif fault == "torque_off":
            for motor in self.motors.values():
                motor.torque = 0
        elif fault == "mended":
            for motor in self.motors.values():
                motor.torque, motor.error = 1, 0
            self.world.place_arm(self._start)
        self._apply()

    @property
    def _readable(self) -> bool:
        return (
            self.fault not in ("read_failure", "unplugged")
            and time.monotonic() > self._rebooted + REBOOT
        )

    def _slowly(self, answer: Any) -> Any:
        def slow(request: Any, response: Any) -> Any:
            if self.fault == "slow_services":
                time.sleep(SLOW)
            return answer(request, response)

        return slow

    # --- servos ---

    def _apply(self) -> None:
        """Bring torque and profiles of the registers to the simulated servos."""
        model, (gains, biases) = self.world.model, self._gains
        on = np.array([self.motors[name].torque for name in MOTORS], bool)[:, None]
        model.actuator_gainprm[:7], model.actuator_biasprm[:7] = (
            gains[:7] * on,
            biases[:7] * on,
        )
        arm = [self.motors[name] for name in JOINT_NAMES]
        # 0 means no profile; the simulation needs some time
        times = np.maximum([motor.profile_velocity / 1000 for motor in arm], 0.02)
        speed_up = np.minimum(
            np.maximum([motor.profile_acceleration / 1000 for motor in arm], 0.01),
            times / 2,
        )
        self.world.set_profile(times, speed_up)

    def _reboot_motor(self, name: str) -> None:
        self.motors[name].reboot()
        self._rebooted = time.monotonic()
        if name in JOINT_NAMES:  # its goal is where it stands
            place = JOINT_NAMES.index(name)
            self.world.data.ctrl[place] = self.world.joints[place]

    def tick(self) -> None:
        """Let a hundredth of a second pass and publish the joint states after it."""
        if self.fault == "reboot" or self.motors["gripper"].torque:
            # A motor on a constant voltage pushes with a constant force where it stands
            # still.
            self.world.move_finger(
                float(self.world.data.qpos[6]) + 0.05 * self.effort / 885
            )
        self.world.advance(1 / RATE)
        if self.fault == "malformed":
            self._states.publish(b"\x00\x01\x00\x00\xff\xff\xff\xff")
        elif self.fault != "silent":
            self._states.publish(self._joint_states())

    def _joint_states(self) -> JointState:
        finger = float(self.world.data.qpos[6])
        message = JointState(name=[*MOTORS, "left_finger", "right_finger"])
        ahead = EARLY if self.fault == "early" else Duration()
        message.header.stamp = (self.get_clock().now() + ahead).to_msg()
        if not self._readable:  # raw 0 everywhere
            message.position = [-np.pi] * 7 + [finger, -finger]
            message.velocity = message.effort = [0.0] * 9
            return message
        current = np.clip(
            self.world.data.actuator_force[:6] * MILLIAMPERE_PER_NEWTON_METRE, -STALL, STALL
        )
        current *= [self.motors[name].torque for name in JOINT_NAMES]
        if self.fault == "hot":
            current[JOINT_NAMES.index(self.faulty)] = STALL
        message.position = [*self.world.joints, motor_angle(finger), finger, -finger]
        message.velocity = [*self.world.joint_velocities, 0.0, 0.0, 0.0]
        message.effort = [*current, self.effort, 0.0, 0.0]
        return message

    def _on_group(self, command: JointGroupCommand) -> None:
        if command.name != "arm" or len(command.cmd) != 6:
            self.get_logger().error(
                f"dropped a command of {len(command.cmd)} for {command.name!r}"
            )
            return
        goal = np.nan_to_num(
            np.array(command.cmd, dtype=float), nan=0.0
        )  # what is no number is tick 2048
        self.commands.append(np.array(command.cmd, dtype=float))
        if self.fault == "unplugged":
            return
        listening = np.array([self.motors[name].torque for name in JOINT_NAMES], bool)
        self.world.command_joints(np.where(listening, goal, self.world.data.ctrl[:6]))

    def _on_single(self, command: JointSingleCommand) -> None:
        if (
            command.name == "gripper"
            and self.motors["gripper"].mode == "pwm"
            and self.fault != "unplugged"
        ):
            self.effort = float(np.nan_to_num(command.cmd))

    # --- services ---

    def _named(self, request: Any) -> list[str]:
        """Return the motors that a request names; none, and a log line, if there are none such."""
        if request.cmd_type == "group":
            return {"arm": list(JOINT_NAMES), "all": list(MOTORS)}.get(request.name, [])
        return [request.name] if request.name in self.motors else []

    def _listening(self, request: Any) -> list[str]:
        """Return the motors that hear what is written to those that a request names."""
        names = self._named(request)
        return names + [SHADOWS[name] for name in names if name in SHADOWS]

    def _set_operating_modes(self, request: Any, response: Any) -> Any:
        for name in self._listening(request):
            motor = self.motors[name]
            motor.mode, motor.torque = request.mode, 1
            motor.profile_velocity, motor.profile_acceleration = (
                request.profile_velocity,
                request.profile_acceleration,
            )
        self._apply()
        return response

    def _set_registers(self, request: Any, response: Any) -> Any:
        for name in self._listening(request):
            if request.reg in REGISTERS and self._readable:
                setattr(self.motors[name], REGISTERS[request.reg], request.value)
        self._apply()
        return response

    def _get_registers(self, request: Any, response: Any) -> Any:
        if self._readable and request.reg in REGISTERS:
            response.values = [
                getattr(self.motors[name], REGISTERS[request.reg])
                for name in self._named(request)
            ]
        return response

    def _torque(self, request: Any, response: Any) -> Any:
        for name in self._listening(request):
            self.motors[name].torque = int(request.enable)
        self._apply()
        return response

    def _reboot(self, request: Any, response: Any) -> Any:
        for name in self._named(request):
            if self.motors[name].error or not request.smart_reboot:
                self._reboot_motor(name)
                self.motors[name].torque = int(request.enable)
        self._apply()
        return response

    def _info(self, request: Any, response: Any) -> Any:
        names = self._named(request)
        first = self.motors[names[0]]
        response.name, response.num_joints = [request.name], len(names)
        response.mode, response.profile_type = first.mode, "time"
        response.joint_names = [
            "left_finger" if name == "gripper" else name for name in names
        ]
        response.joint_ids = [IDS[MOTORS.index(name)] for name in names]
        low, high = (
            dict(zip(JOINT_NAMES, each, strict=True)) | {"gripper": 0.0}
            for each in (JOINT_LOW, JOINT_HIGH)
        )
        sleep = dict(zip(JOINT_NAMES, SLEEP, strict=True)) | {"gripper": 0.0195}
        response.joint_lower_limits = [low[name] for name in names]
        response.joint_upper_limits = [high[name] for name in names]
        response.joint_velocity_limits = [np.pi] * len(names)
        response.joint_sleep_positions = [sleep[name] for name in names]
        response.joint_state_indices = [MOTORS.index(name) for name in names]
        return response


if __name__ == "__main__":
    up = "--up" in sys.argv  # in the workspace instead of asleep
    sys.exit(run(lambda: XsStandIn(UP if up else SLEEP)))
