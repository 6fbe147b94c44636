"""The servos' registers behind xs_sdk: read, written, and watched without waiting.

xs_sdk does not say whether what it was told was done, nor that a servo has shut itself off;
its registers do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo, TorqueEnable
from rclpy.task import Future

from ptr_common.action_space import JOINT_NAMES
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import ArmError

from .connection import XsConnection

GROUP, GRIPPER = "arm", "gripper"

HARDWARE_ERRORS = (
    "input voltage",
    "",
    "overheating",
    "encoder",
    "electrical shock",
    "overload",
)
"""What the bits of a servo's register Hardware_Error_Status mean."""

CALL_LIMIT = 2.0
"""Longest wait for a service of xs_sdk [s]."""

POLL_PERIOD = 1.0
"""Error, torque and profile registers are read this often [s]: it takes time on the bus from everything else."""

SUSPICION_PERIOD = 0.15
"""The torque register of a joint that reports no effort at all is read this often [s]: at rest, or limp?"""

ERRORS, TORQUE, PROFILE = "Hardware_Error_Status", "Torque_Enable", "Profile_Velocity"
"""Registers of a servo."""


class Servos:
    """The nine servos of a wx250s. All methods are for one thread.

    Args:
        connection: To xs_sdk, ready.
        limits: Times of the profile.
    """

    def __init__(self, connection: XsConnection, limits: Limits) -> None:
        self._core, self._connection = connection.core, connection
        self._profile = {
            PROFILE: round(1000 * limits.profile_time),
            "Profile_Acceleration": round(1000 * limits.profile_acceleration_time),
        }
        # Interbotix's own simulation has no registers to read
        self._readable = not connection.serves("xs_sdk_sim")
        self._polls: dict[tuple[str, str, str], Future] = {}  # by kind, name and register
        self._polled = self._asked = (
            0.0  # when all registers, and any, were last asked for [s]
        )
        self._reported = ""  # what they told of trouble

    # --- not for the control loop ---------------------------------------------------------------------------

    def info(self, kind: str, name: str) -> RobotInfo.Response:
        """Return what xs_sdk says of a group ("group") or a servo ("single")."""
        return self._call(
            self._core.srv_get_info, RobotInfo.Request(cmd_type=kind, name=name)
        )

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        """Bring servos into a mode, `position` with the time profile; they are without torque for a moment."""
        times = list(self._profile.values()) if mode == "position" else [0, 0]
        request = OperatingModes.Request(
            cmd_type=kind,
            name=name,
            mode=mode,
            profile_type="time" if mode == "position" else "velocity",
            profile_velocity=times[0],
            profile_acceleration=times[1],
        )
        self._call(self._core.srv_set_op_modes, request)

    def check(self) -> None:
        """Raise ArmError if a servo reports an error."""
        self._polls, self._polled, self._reported = {}, time.monotonic(), ""
        if self._readable and (problem := _hardware_error(self._read("all", ERRORS, 7))):
            raise ArmError(problem)

    def write_profile(self) -> None:
        """Write the profile times and read them back; raises ArmError if they are not taken."""
        for register, value in self._profile.items():
            request = RegisterValues.Request(
                cmd_type="group", name=GROUP, reg=register, value=value
            )
            self._call(self._core.srv_set_reg, request)
            if self._readable and set(found := self._read(GROUP, register, 6)) != {value}:
                raise ArmError(
                    f"{register} reads {found} after {value} was written; switch the arm off and on"
                )

    def has_torque(self) -> bool:
        """Return whether all servos of the arm hold their torque."""
        return not self._readable or all(self._read(GROUP, TORQUE, 6))

    def switch_torque_on(self) -> None:
        """Switch the torque of all servos on."""
        self._call(
            self._core.srv_torque,
            TorqueEnable.Request(cmd_type="group", name="all", enable=True),
        )

    def _read(self, name: str, register: str, count: int) -> list[int]:
        request = RegisterValues.Request(cmd_type="group", name=name, reg=register)
        values = list(self._call(self._core.srv_get_reg, request).values)  # type: ignore[attr-defined]
        if len(values) != count:
            raise ArmError(
                f"{len(values)} of {count} servos answer for {register}; check the cables and the supply"
            )
        return values

    def _call(self, client: object, request: object) -> object:
        return self._connection.call(client, request, CALL_LIMIT)  # type: ignore[arg-type]

    # --- for the control loop -------------------------------------------------------------------------------

    def watch(self, suspects: Sequence[str], streaming: bool) -> None:
        """Ask for the registers that tell of trouble, and judge the answers when they are there; never waits.

        Args:
            suspects: Joints that report no effort at all.
            streaming: Whether targets come so fast that the bus has no time for registers.

        Raises:
            ArmError: As long as what the registers told last is trouble.
        """
        self._collect()
        if not (self._polls or streaming) and self._readable:
            now = time.monotonic()
            if now - self._polled > POLL_PERIOD:
                self._polled = now
                self._ask(
                    [
                        ("group", "all", ERRORS),
                        ("group", GROUP, TORQUE),
                        ("group", GROUP, PROFILE),
                    ]
                )
            elif suspects and now - self._asked > SUSPICION_PERIOD:
                self._ask([("single", joint, TORQUE) for joint in suspects])
        if self._reported:
            raise ArmError(self._reported)

    def _collect(self) -> None:
        if self._polls and all(future.done() for future in self._polls.values()):
            answers = {
                wanted: list(future.result().values)
                for wanted, future in self._polls.items()
            }
            self._polls = {}
            self._judge(answers)
        elif self._polls and time.monotonic() - self._asked > CALL_LIMIT:
            self._polls = {}
            self._reported = f"xs_sdk did not answer {self._core.srv_get_reg.srv_name} in {CALL_LIMIT:g} s"

    def _ask(self, registers: Sequence[tuple[str, str, str]]) -> None:
        self._asked, ask = time.monotonic(), self._core.srv_get_reg.call_async
        self._polls = {
            (kind, name, reg): ask(
                RegisterValues.Request(cmd_type=kind, name=name, reg=reg)
            )
            for kind, name, reg in registers
        }

    def _judge(self, answers: Mapping[tuple[str, str, str], list[int]]) -> None:
        """Take note of what registers tell; of a suspicion that proves true, ask them all at once."""
        if ("group", "all", ERRORS) not in answers:
            if not all(all(values) and values for values in answers.values()):
                self._polled = -np.inf
            return
        problems = (
            _hardware_error(answers["group", "all", ERRORS]),
            _torque_error(answers["group", GROUP, TORQUE]),
            self._profile_error(answers["group", GROUP, PROFILE]),
        )
        self._reported = next(filter(None, problems), "")

    def _profile_error(self, values: Sequence[int]) -> str:
        """Return why the servos would not move as they should; empty if they do."""
        wanted = self._profile[PROFILE]
        if len(values) == 6 and all(value == wanted for value in values):
            return ""
        return (
            f"{PROFILE} is {list(values)}, not {wanted} ms: a servo was rebooted, or somebody else sets it; "
            "arm/enable writes it anew"
        )


def _hardware_error(values: Sequence[int]) -> str:
    """Return what the registers Hardware_Error_Status of all seven servos say; empty if all is well."""
    if len(values) != 7:
        return f"{len(values)} of 7 servos answer; check the cables between them and the 12 V supply"
    for name, bits in zip((*JOINT_NAMES, GRIPPER), values, strict=True):
        if bits:
            told = [
                text for bit, text in enumerate(HARDWARE_ERRORS) if bits >> bit & 1 and text
            ]
            return (
                f"the servo of {name} has shut itself off: {', '.join(told) or f'error {bits}'}; support the arm, call "
                "reboot_motors (smart_reboot) or switch the supply off and on, then arm/enable"
            )
    return ""


def _torque_error(values: Sequence[int]) -> str:
    """Return what the registers Torque_Enable of the arm's servos say; empty if all is well."""
    off = [name for name, on in zip(JOINT_NAMES, values, strict=False) if not on]
    if len(values) == 6 and not off:
        return ""
    return f"no torque in {', '.join(off) or 'servos that do not answer'}; support the arm, then arm/enable"
