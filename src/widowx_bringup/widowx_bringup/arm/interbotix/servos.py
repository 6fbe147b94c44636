"""Registers of the servos behind xs_sdk: read, written, and watched without waiting.

xs_sdk does not report whether a servo obeyed, nor that a servo has shut itself off; the
registers show both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo, TorqueEnable
from rclpy.client import Client
from rclpy.task import Future

from ptr_common.action_space import JOINT_NAMES
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import ArmError

from .connection import XsConnection

GROUP = "arm"
"""Interbotix's name of the group of the arm's joints."""

GRIPPER = "gripper"
"""Interbotix's name of the gripper's joint."""

SHADOWS = ("shoulder_shadow", "elbow_shadow")
"""Servos that turn a joint together with its own; they are in none of Interbotix's groups."""

Register = tuple[str, str, str]
"""Kind ("group" or "single"), name of the group or the joint, and name of a register."""

HARDWARE_ERRORS = (
    "input voltage",
    "",
    "overheating",
    "encoder",
    "electrical shock",
    "overload",
)
"""Meaning of the bits of a servo's register Hardware_Error_Status."""

CALL_LIMIT = 2.0
"""Longest wait for a service of xs_sdk [s]."""

POLL_PERIOD = 1.0
"""Time from one reading of the error, torque and profile registers to the next [s].

Reading takes time on the servo bus from the joint states.
"""

SUSPICION_PERIOD = 0.15
"""Time from one reading of the torque registers of suspects to the next [s].

A joint without effort is at rest or limp. The shadow servos are always suspects: no joint
state has their effort.
"""

ERRORS = "Hardware_Error_Status"
TORQUE = "Torque_Enable"
PROFILE = "Profile_Velocity"
ACCELERATION = "Profile_Acceleration"
"""Registers of a servo."""

WATCHED = (ERRORS, TORQUE, PROFILE)
"""Registers that show faults."""

ARM_SERVOS = (*JOINT_NAMES, *SHADOWS)
"""The servos that move the arm, in the order in which their registers are put together."""

ALL_ERRORS: Register = ("group", "all", ERRORS)
ARM_TORQUE: Register = ("group", GROUP, TORQUE)
ARM_PROFILE: Register = ("group", GROUP, PROFILE)
"""The registers of the groups, read once per `POLL_PERIOD` with those of the shadow servos."""


class Servos:
    """The nine servos of a wx250s. All methods are for one thread.

    Args:
        connection: To xs_sdk, ready.
        limits: Times of the profile.
    """

    def __init__(self, connection: XsConnection, limits: Limits) -> None:
        self._connection = connection
        self._core = connection.core
        self._profile = {
            PROFILE: round(1000 * limits.profile_time),
            ACCELERATION: round(1000 * limits.profile_acceleration_time),
        }
        # Interbotix's simulation has no registers to read.
        self._readable = not connection.serves("xs_sdk_sim")
        self._polls: dict[Register, Future] = {}  # calls that are under way
        self._polled = 0.0  # when all registers were last asked for [s]
        self._asked = 0.0  # when any register was last asked for [s]
        self._reported = ""  # the fault that the registers showed last

    # --- not for the control loop -----------------------------------------------------------

    def info(self, kind: str, name: str) -> RobotInfo.Response:
        """Return xs_sdk's description of servos.

        Args:
            kind: "group" or "single".
            name: Name of the group or the joint.

        Raises:
            ArmError: If xs_sdk does not answer.
        """
        request = RobotInfo.Request(cmd_type=kind, name=name)
        return self._call(self._core.srv_get_info, request)

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        """Bring servos into a mode; they are without torque for a moment.

        Args:
            kind: "group" or "single".
            name: Name of the group or the joint.
            mode: Interbotix's name of the mode; "position" comes with the time profile.

        Raises:
            ArmError: If xs_sdk does not answer.
        """
        request = OperatingModes.Request(
            cmd_type=kind, name=name, mode=mode, profile_type="velocity"
        )
        if mode == "position":
            request.profile_type = "time"
            request.profile_velocity = self._profile[PROFILE]
            request.profile_acceleration = self._profile[ACCELERATION]
        self._call(self._core.srv_set_op_modes, request)

    def check(self) -> None:
        """Forget earlier reports and read the error registers.

        Raises:
            ArmError: If a servo reports an error.
        """
        self._polls = {}
        self._polled = time.monotonic()
        self._reported = ""
        if not self._readable:
            return
        problem = _hardware_error(self._read(ALL_ERRORS, 7))
        for shadow in SHADOWS:
            problem = problem or _shut_off(shadow, self._read_single(shadow, ERRORS))
        if problem:
            raise ArmError(problem)

    def write_profile(self) -> None:
        """Write the profile times and read them back.

        The shadow servos listen to what is written to their joints.

        Raises:
            ArmError: If a servo has not taken them.
        """
        for register, value in self._profile.items():
            request = RegisterValues.Request(
                cmd_type="group", name=GROUP, reg=register, value=value
            )
            self._call(self._core.srv_set_reg, request)
            if not self._readable:
                continue
            values = self._read(("group", GROUP, register), 6)
            values += [self._read_single(shadow, register) for shadow in SHADOWS]
            if set(values) != {value}:
                raise ArmError(
                    f"{register} reads {values} after {value} was written; "
                    "switch the arm off and on"
                )

    def has_torque(self) -> bool:
        """Return whether all servos of the arm hold their torque.

        Raises:
            ArmError: If not all of them answer.
        """
        if not self._readable:
            return True
        # A limp arm sags meanwhile, so nothing more is read than the answer needs.
        return all(self._read(ARM_TORQUE, 6)) and all(
            self._read_single(shadow, TORQUE) for shadow in SHADOWS
        )

    def switch_torque_on(self) -> None:
        """Switch the torque of all servos on.

        Raises:
            ArmError: If xs_sdk does not answer.
        """
        request = TorqueEnable.Request(cmd_type="group", name="all", enable=True)
        self._call(self._core.srv_torque, request)

    def _read(self, register: Register, count: int) -> list[int]:
        """Return the values of a register of several servos.

        Args:
            register: The register.
            count: Number of servos that must answer.

        Raises:
            ArmError: If another number of servos answers, or xs_sdk does not.
        """
        kind, name, reg = register
        request = RegisterValues.Request(cmd_type=kind, name=name, reg=reg)
        values = list(self._call(self._core.srv_get_reg, request).values)
        if len(values) != count:
            raise ArmError(
                f"{len(values)} of {count} servos of {name} answer for {reg}; "
                "check the cables and the supply"
            )
        return values

    def _read_single(self, name: str, register: str) -> int:
        """Return the value of a register of one servo; raises ArmError as `_read`."""
        return self._read(("single", name, register), 1)[0]

    def _call(self, client: Client, request: Any) -> Any:
        """Call a service of xs_sdk and return its response; raises ArmError without one."""
        return self._connection.call(client, request, CALL_LIMIT)

    # --- for the control loop ---------------------------------------------------------------

    def watch(self, suspects: Sequence[str]) -> None:
        """Ask for the registers that show faults, and check the answers; never waits.

        Args:
            suspects: Joints that report no effort at all.

        Raises:
            ArmError: As long as the registers read last show a fault.
        """
        self._collect()
        if not self._polls and self._readable:
            now = time.monotonic()
            if now - self._polled > POLL_PERIOD:
                self._polled = now
                self._ask(_all_registers())
            elif now - self._asked > SUSPICION_PERIOD:
                servos = (*SHADOWS, *suspects)
                self._ask([("single", servo, TORQUE) for servo in servos])
        if self._reported:
            raise ArmError(self._reported)

    def _ask(self, registers: Sequence[Register]) -> None:
        """Call the service of each register without waiting for the answers."""
        self._asked = time.monotonic()
        self._polls = {}
        for register in registers:
            kind, name, reg = register
            request = RegisterValues.Request(cmd_type=kind, name=name, reg=reg)
            self._polls[register] = self._core.srv_get_reg.call_async(request)

    def _collect(self) -> None:
        """Check the answers once all of them are there, or report that they are not."""
        if not self._polls:
            return
        if all(future.done() for future in self._polls.values()):
            answers: dict[Register, list[int]] = {}
            for register, future in self._polls.items():
                answers[register] = list(future.result().values)
            self._polls = {}
            self._check_answers(answers)
        elif time.monotonic() - self._asked > CALL_LIMIT:
            self._polls = {}
            service = self._core.srv_get_reg.srv_name
            self._reported = f"xs_sdk did not answer {service} in {CALL_LIMIT:g} s"

    def _check_answers(self, answers: Mapping[Register, list[int]]) -> None:
        """Note the first fault that the registers show.

        If only suspects were asked for and one of them has no torque, all registers are read
        at the next opportunity instead. One that does not answer is left to the next regular
        reading: if the bus cannot be read, the joint states show it.

        Args:
            answers: Values of each register, one for each servo of its group.
        """
        if ALL_ERRORS not in answers:
            for values in answers.values():
                if not all(values):
                    self._polled = -np.inf
            return
        problem = _hardware_error(answers[ALL_ERRORS])
        torque, profile = answers[ARM_TORQUE], answers[ARM_PROFILE]
        for shadow in SHADOWS:
            errors = answers["single", shadow, ERRORS]
            problem = problem or _shut_off(shadow, sum(errors))
            # A servo that does not answer has no value, and is missed in the number of them.
            torque = torque + answers["single", shadow, TORQUE]
            profile = profile + answers["single", shadow, PROFILE]
        self._reported = problem or _torque_error(torque) or self._profile_error(profile)

    def _profile_error(self, values: Sequence[int]) -> str:
        """Return why the servos would not move by the time profile; empty if they do.

        Args:
            values: Registers Profile_Velocity of the six servos of the arm's joints, and of
                the shadow servos [ms].
        """
        expected = self._profile[PROFILE]
        if len(values) == len(ARM_SERVOS) and all(value == expected for value in values):
            return ""
        return (
            f"{PROFILE} is {list(values)}, not {expected} ms: a servo was rebooted, or "
            "another program sets it; arm/enable writes it anew"
        )


def _hardware_error(values: Sequence[int]) -> str:
    """Return the error of the first servo that has one; empty if none has.

    Args:
        values: Registers Hardware_Error_Status of the seven servos of Interbotix's group
            "all"; the shadow servos are not in it.
    """
    if len(values) != 7:
        return (
            f"{len(values)} of 7 servos answer; "
            "check the cables between them and the 12 V supply"
        )
    errors = [
        _shut_off(name, bits)
        for name, bits in zip((*JOINT_NAMES, GRIPPER), values, strict=True)
    ]
    return next(filter(None, errors), "")


def _shut_off(name: str, bits: int) -> str:
    """Return the error in a register Hardware_Error_Status; empty if there is none.

    Args:
        name: Interbotix's name of the servo.
        bits: The register.
    """
    if not bits:
        return ""
    call = f"{{cmd_type: single, name: {name}, enable: true, smart_reboot: true}}"
    return (
        f"the servo of {name} has shut itself off: {_error_names(bits)}; support the arm, "
        f'call reboot_motors with "{call}" (a group does not reach the shadow servos) or '
        "switch the supply off and on, then arm/enable"
    )


def _all_registers() -> list[Register]:
    """Return the registers that are read once per `POLL_PERIOD`."""
    singles = [("single", shadow, reg) for shadow in SHADOWS for reg in WATCHED]
    return [ALL_ERRORS, ARM_TORQUE, ARM_PROFILE, *singles]


def _error_names(bits: int) -> str:
    """Return the names of the errors in a register Hardware_Error_Status."""
    names: list[str] = []
    for bit, name in enumerate(HARDWARE_ERRORS):
        if bits >> bit & 1 and name:
            names.append(name)
    return ", ".join(names) or f"error {bits}"


def _torque_error(values: Sequence[int]) -> str:
    """Return which joints have no torque; empty if all have.

    Args:
        values: Registers Torque_Enable of the six servos of the arm's joints, and of the
            shadow servos.
    """
    joints: list[str] = []
    for name, enabled in zip(ARM_SERVOS, values, strict=False):
        if not enabled:
            joints.append(name)
    if len(values) == len(ARM_SERVOS) and not joints:
        return ""
    found = ", ".join(joints) or "servos that do not answer"
    return f"no torque in {found}; support the arm, then arm/enable"
