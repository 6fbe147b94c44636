"""Simulated cameras that stand elsewhere: raised, or turned about the table (paper, Table 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ptr_common.errors import PtrError

from .families.sampling import CENTRE

if TYPE_CHECKING:
    import mujoco

RISE = (-0.2, 0.5)
"""Least and greatest rise of a camera [m]."""

TURN = (-60.0, 60.0)
"""Least and greatest turn of a camera [degrees]."""


class CameraShiftError(PtrError):
    """A camera is to be moved too far."""


@dataclass(frozen=True)
class CameraShift:
    """Where the cameras stand, relative to where they usually do; all of them move alike.

    Attributes:
        rise: Rise of the mount [m]; the camera keeps its orientation.
        turn: Turn about the vertical line through the middle of the objects' area [degrees],
            anticlockwise from above: the table stays in sight, seen more from the side.

    Raises:
        CameraShiftError: If a value is out of its bounds.
    """

    rise: float = 0.0
    turn: float = 0.0

    def __post_init__(self) -> None:
        for name, value, (low, high), unit in (
            ("camera_rise", self.rise, RISE, "m"),
            ("camera_turn", self.turn, TURN, "degrees"),
        ):
            if not low <= value <= high:
                raise CameraShiftError(
                    f"{name} {value:g} is not possible; give {low:g} to {high:g} {unit}"
                )

    @classmethod
    def of_arguments(cls, arguments: Mapping[str, str]) -> CameraShift:
        """Return the shift that arguments `camera_rise` and `camera_turn` ask for.

        Args:
            arguments: Texts by name; other names do not matter here.

        Raises:
            CameraShiftError: If a text is no number, or out of its bounds.
        """
        values = []
        for name in ("camera_rise", "camera_turn"):
            text = arguments.get(name, "0")
            try:
                values.append(float(text))
            except ValueError:
                raise CameraShiftError(f"{name}:={text} is not a number") from None
        return cls(*values)

    def arguments(self) -> dict[str, str]:
        """Return the arguments of a graph that `of_arguments` reads."""
        return {"camera_rise": str(self.rise), "camera_turn": str(self.turn)}

    def __bool__(self) -> bool:
        return self != CameraShift()

    def apply(self, model: mujoco.MjModel) -> None:
        """Move every camera of a model.

        Args:
            model: Its cameras stand in the world.
        """
        if not self:
            return
        import mujoco  # deferred, as in `rendering`

        turn = np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), np.deg2rad(self.turn))
        centre = np.array([*CENTRE, 0.0])
        for place, orientation in zip(model.cam_pos, model.cam_quat, strict=True):
            turned = np.zeros(3)
            mujoco.mju_rotVecQuat(turned, place - centre, turn)
            place[:] = centre + turned + [0.0, 0.0, self.rise]
            old = orientation.copy()
            mujoco.mju_mulQuat(orientation, turn, old)


NO_SHIFT = CameraShift()
"""The cameras stand where they usually do."""
