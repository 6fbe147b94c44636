"""The start of a trial: the scene is laid out, and the arm stands where it is to begin."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.images import read_image, write_jpeg
from ptr_common.rotation import rotation_from_rpy
from ptr_common.topics import TOPIC_ARM_STATE
from widowx_bringup.arm.motions import START_POSE
from widowx_bringup.graph.connection import ANSWER_TIMEOUT, EpisodeError

from .attendance import Attendance, Placement, Pose
from .ghost import ghost
from .terminal import Terminal

if TYPE_CHECKING:
    from widowx_bringup.graph.connection import GraphConnection

GHOST = "ghost.jpg"
"""File, in the folder of the session, of the ghost of the scene that is being laid out."""

GHOST_PERIOD = 0.5
"""Time from one ghost to the next [s]."""

READY = "session/ready"
"""Service (std_srvs/Trigger) that says what ENTER says: the scene stands."""

MOTION_LIMIT = 60.0
"""Longest time in which the arm comes to its start pose [s]."""

SETTLED_NS = 500_000_000
"""The arm rests so long after a motion before it is measured [ns]."""

ATTEMPTS = 2
"""Motions to the start pose before a trial is void."""


class StartMissedError(PtrError):
    """The arm does not come to the start pose, so that the trial is void.

    Args:
        reason: What is wrong.
        residual: How far the arm is from the pose; None if it was not measured.
    """

    def __init__(self, reason: str, residual: Residual | None = None) -> None:
        super().__init__(reason)
        self.residual = residual


@dataclass(frozen=True)
class Residual:
    """How far the measured pose is from the one that was asked for.

    Attributes:
        position: Distance [m].
        rotation: Angle of the rotation between them [degrees].
    """

    position: float
    rotation: float

    @classmethod
    def between(cls, measured: np.ndarray, wanted: np.ndarray) -> Residual:
        """Return that of two poses, x, y, z [m], roll, pitch, yaw [rad]; more is not read."""
        R = rotation_from_rpy(measured[3:6]).T @ rotation_from_rpy(wanted[3:6])
        cosine = np.clip((np.trace(R) - 1.0) / 2.0, -1.0, 1.0)
        distance = float(np.linalg.norm(measured[:3] - wanted[:3]))
        return cls(round(distance, 6), round(math.degrees(np.arccos(cosine)), 4))

    def within(self, attendance: Attendance) -> bool:
        """Return whether a trial may begin."""
        return self.position <= attendance.position and self.rotation <= attendance.rotation

    def __str__(self) -> str:
        return f"{1000 * self.position:.1f} mm and {self.rotation:.1f} degrees"


class MatchedStart:
    """Brings a graph to where a trial may begin, with the help of a person.

    Args:
        graph: Connection to the graph.
        terminal: Of this process.
        attendance: Start poses, layouts and tolerances of the plan.
        folder: Of the session; receives the ghost.
    """

    def __init__(
        self,
        graph: GraphConnection,
        terminal: Terminal,
        attendance: Attendance,
        folder: Path,
    ) -> None:
        from std_srvs.srv import Trigger

        from ptr_msgs.srv import GoToPose

        self._graph = graph
        self._terminal = terminal
        self._attendance = attendance
        self._folder = folder
        self._is_ready = False  # the person has said that the scene stands
        self._simulated = graph.values["use_sim"] == "true"
        self._enable = graph.client(Trigger, "arm/enable")
        self._to_start = graph.client(Trigger, "arm/go_to_start")
        self._to_pose = graph.client(GoToPose, "arm/go_to_pose")
        graph.serve(READY, self._on_ready)

    def _on_ready(self) -> str:
        self._is_ready = True
        return "the scene stands"

    def prepare(self, scene: int) -> Residual | None:
        """Have the arm go to its start pose and the person lay the scene out.

        Args:
            scene: Index of the scene. In simulation it is drawn already.

        Returns:
            How far the arm stands from the pose; None where a simulated scene has its own.

        Raises:
            StartMissedError: If the arm does not come near enough.
            EpisodeError: If the graph does not answer.
        """
        self._free()
        pose = self._attendance.start(scene)
        goes = pose is not None or not self._simulated
        if goes:
            self._go(pose)
        self._lay_out(scene)
        self._free()  # a person may have stopped it meanwhile
        if not goes:
            return None
        residual = Residual.between(self._measured(), np.asarray(pose or START_POSE))
        for _ in range(ATTEMPTS - 1):
            if residual.within(self._attendance):
                break
            self._terminal.show(f"{self._missed(residual)}; the arm goes there again")
            self._go(pose)
            residual = Residual.between(self._measured(), np.asarray(pose or START_POSE))
        if not residual.within(self._attendance):
            raise StartMissedError(self._missed(residual), residual)
        return residual

    def _missed(self, residual: Residual) -> str:
        allowed = Residual(self._attendance.position, self._attendance.rotation)
        return f"the arm is {residual} from its start pose; allowed are {allowed}"

    # --- the arm --------------------------------------------------------------------------

    def _free(self) -> None:
        """Wait until the arm does not hold; only in simulation this frees it by itself."""
        from std_srvs.srv import Trigger

        arm = self._graph.arm_state()
        if arm.status == arm.STATUS_OK:
            return
        if self._simulated:
            self._graph.call(self._enable, Trigger.Request())
        else:
            self._terminal.show(
                f"the arm holds: {arm.reason}; once it may move, e here, or arm/enable"
            )
        while self._graph.arm_state().status != arm.STATUS_OK:
            if self._terminal.key() == "e":
                self._terminal.show(
                    self._graph.call(self._enable, Trigger.Request()).message
                )
            with contextlib.suppress(EpisodeError):
                self._graph.wait(self._is_free, 0.1, "")

    def _is_free(self) -> bool:
        arm = self._graph.arm_state()
        return bool(arm.status == arm.STATUS_OK)

    def _go(self, pose: Pose | None) -> None:
        """Have the arm go to a pose, or its own start pose, and wait until it rests there."""
        from std_srvs.srv import Trigger

        from ptr_msgs.srv import GoToPose

        graph = self._graph
        if not self._simulated:
            self._terminal.show("keep clear: the arm goes to its start pose")
        if pose is None:
            answer = graph.call(self._to_start, Trigger.Request())
        else:
            answer = graph.call(self._to_pose, GoToPose.Request(pose=pose[:6]))
        if not answer.success:
            raise StartMissedError(
                f"the arm does not go to its start pose: {answer.message}"
            )
        graph.wait_for_message(TOPIC_ARM_STATE, ANSWER_TIMEOUT, fresh=True)
        graph.wait(self._rests, MOTION_LIMIT, "the arm is still on its way to the start")
        arm = graph.arm_state()
        if arm.status != arm.STATUS_OK:
            raise StartMissedError(f"the arm held on its way to the start: {arm.reason}")

    def _rests(self) -> bool:
        """Return whether the arm moves by itself no longer."""
        arm: Any = self._graph.arm_state()
        return bool(not arm.reason or arm.status != arm.STATUS_OK)

    def _measured(self) -> np.ndarray:
        """Return the pose of the resting arm, as proprioception has it."""
        since = self._graph.now_ns() + SETTLED_NS
        self._graph.wait(
            lambda: self._graph.now_ns() > since, ANSWER_TIMEOUT, "the clock stands"
        )
        self._graph.wait_for_message(TOPIC_ARM_STATE, ANSWER_TIMEOUT, fresh=True)
        return np.asarray(self._graph.arm_state().proprio)

    # --- the scene ------------------------------------------------------------------------

    def _lay_out(self, scene: int) -> None:
        """Say which scene is next, and wait until a person has laid it out.

        A simulated scene without a layout in the plan is there already.
        """
        placement = self._attendance.placement(scene)
        if placement is None and self._simulated:
            return
        placement = placement or Placement("as the protocol of the session says")
        self._terminal.show(
            f"scene {scene}: {placement.sentence}; ENTER (or {READY}) once it stands"
        )
        self._is_ready = False
        if placement.photo is None:
            self._graph.wait(self._asked_ready, math.inf, "")
            return
        reference = read_image(placement.photo)
        file = self._folder / GHOST
        try:
            with self._graph.newest_image() as newest:
                while not self._is_ready:
                    if (live := newest()) is not None:
                        write_jpeg(file, ghost(reference, live))
                    with contextlib.suppress(EpisodeError):
                        self._graph.wait(self._asked_ready, GHOST_PERIOD, "")
        finally:
            file.unlink(missing_ok=True)  # nobody is shown an old one

    def _asked_ready(self) -> bool:
        self._is_ready = self._is_ready or self._terminal.key() in ("\n", "\r")
        return self._is_ready
