"""The deployed policy: a bundle checked against this robot and this computer, ready to act.

PyTorch is imported only when a bundle is loaded.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptr_common.action_space import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_NAMES,
    BASE_FRAME,
    PROPRIO_NAMES,
)
from ptr_common.images import RESIZE_NAME, resize_area
from ptr_common.names import did_you_mean, find_task

from .backends import Backend, open_backend
from .bundle import (
    GOLDEN_NAMES,
    GRIPPER_SENSE,
    ID_DIGITS,
    Bundle,
    BundleError,
    BundleInfo,
    CameraSpec,
    read_bundle,
)
from .golden_values import read_golden
from .signature import check_signature

GRIPPER = ACTION_NAMES.index("gripper")

PIXEL_TOLERANCE = 1
"""Largest difference of a resized pixel; versions of OpenCV round differently."""


class Tolerance(NamedTuple):
    """Largest differences from the golden outputs."""

    action: float  # relative to the range of a dimension
    q: float  # absolute, and relative where |Q| > 1


TOLERANCES = {
    "float32": Tolerance(1e-4, 1e-3),  # CPUs sum in different orders
    "bfloat16": Tolerance(1e-2, 5e-2),  # twice the error measured on trained networks
}
"""Tolerance of each precision."""


@dataclass(frozen=True)
class PolicyOutput:
    """An action of the policy, without its value; `Policy.q_values` computes that."""

    action: np.ndarray  # (7,) robot units, see action_space.ACTION_NAMES
    std: np.ndarray  # (7,) same units; NaN for a deterministic policy
    inputs: tuple[
        Any, ...
    ]  # the tensors (image, proprio, task) that the action follows from


def share_of_other(std: float, distance: float) -> float:
    """Return the probability p of the less likely of two values.

    Args:
        std: Their standard deviation, `distance` sqrt(p (1 - p)); 0 if it is not known.
        distance: Between the values.
    """
    if not std > 0.0 or not distance > 0.0:  # NaN is not known
        return 0.0
    return 0.5 * (1.0 - math.sqrt(max(0.0, 1.0 - 4.0 * (std / distance) ** 2)))


def load_bundle(
    path: Path | str,
    *,
    camera: CameraSpec | None = None,
    rate: float | None = None,
    threads: int = 1,
    backend: str = "auto",
    precision: str = "float32",
    expected: str = "",
    key: Path | None = None,
) -> Policy:
    """Load a bundle after checking it against this code, the robot and this computer.

    Args:
        path: The bundle's folder.
        camera: The robot's camera; None: not known yet. `Policy.act` checks the size anyway.
        rate: Control rate of the robot [Hz]; None: that of the bundle.
        threads: CPU threads of PyTorch in this process.
        backend: What runs the bundle: one of `backends.BACKENDS`, or `auto`.
        precision: One of `PRECISIONS`.
        expected: Full name that the bundle must have, see `read_bundle`; empty: any.
        key: Public key with which it must be signed, see `check_signature`; None: none.

    Raises:
        BundleError: For the first mismatch, with the value found and the value expected.
    """
    bundle = read_bundle(path, expected)
    if key is not None:
        check_signature(bundle.path, bundle.sha256, key)
    _check_contract(bundle.path, bundle.info, camera, rate)
    name, programs = open_backend(backend, bundle, precision, threads)
    policy = Policy(bundle.info, bundle.sha256, programs, f"{name} {precision}")
    golden = read_golden(bundle)
    _check_golden(bundle, policy, golden, TOLERANCES[precision])
    policy.lacks = _lacking(policy, golden)
    return policy


class Policy:
    """A checked policy, ready to act; made by `load_bundle`.

    Args:
        info: The description in the bundle.
        sha256: The bundle's full name.
        programs: The loaded backend.
        backend: Its name and precision.

    Attributes:
        info: The description in the bundle.
        sha256: The bundle's full name, the SHA-256 of its `bundle.json`.
        bundle_id: Its id, the first digits of that.
        backend: Name and precision of the backend, for example "export float32".
        lacks: What the policy says of no action, for people: Q values without a critic, a
            standard deviation if it is deterministic.
    """

    def __init__(
        self, info: BundleInfo, sha256: str, programs: Backend, backend: str
    ) -> None:
        import torch

        self.info = info
        self.sha256 = sha256
        self.bundle_id = sha256[:ID_DIGITS]
        self.backend = backend
        self.lacks: tuple[str, ...] = ()
        self._programs = programs
        self._torch = torch
        self._history: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=info.history)
        self._plan: deque[PolicyOutput] = deque()  # actions that are still to be executed
        self._planned_task = -1  # id
        self._rng = np.random.default_rng(0)  # of the drawn gripper

    def reset(self) -> None:
        """Forget earlier observations and plans; call it when an episode begins.

        The draws of the gripper begin anew: equal observations give equal episodes.
        """
        self._rng = np.random.default_rng(0)
        self._history.clear()
        self._plan.clear()

    def interrupt(self) -> None:
        """Drop the planned actions; call it at a control step without an action."""
        self._plan.clear()

    @property
    def plans_next(self) -> bool:
        """Whether the next `act` makes a new plan, if the task stays the same."""
        return not self._plan

    def skip(self) -> None:
        """Use up what `act` would: a planned action and a draw of the gripper.

        A recording whose observation was lost goes on with it; nothing on a robot calls it.
        """
        if self._plan:
            self._plan.popleft()
        if self.info.draws_gripper:
            self._rng.random()

    def act(self, image: np.ndarray, proprio: np.ndarray, task: str) -> PolicyOutput:
        """Return the policy's action: the next one of its plan, or the first of a new plan.

        A plan is made where the last one is executed or dropped, and for another task. Without
        `info.execute` every observation has a plan of its own.

        Args:
            image: RGB image of the bundle's camera, shape (H, W, 3), uint8.
            proprio: Measured state, shape (7,), see action_space.PROPRIO_NAMES.
            task: One of `info.tasks`, or an alias.

        Raises:
            BundleError: If the image has another size or type, the state is not finite, the
                task is unknown, or the policy's action is not finite.
        """
        self._check_image(image)
        if np.shape(proprio) != (7,) or not np.isfinite(proprio).all():
            raise BundleError(f"proprio is {np.asarray(proprio)}, expected 7 finite values")
        resized = resize_area(image, (self.info.image_height, self.info.image_width))
        task_id = self.task_id(task)
        images, states = self._with_history(resized, np.asarray(proprio, np.float32))
        if not self._plan or task_id != self._planned_task:
            self._plan = deque(self.plan_on(images, states, task_id))
            self._planned_task = task_id
        output = self._plan.popleft()
        if not np.isfinite(output.action).all():
            self._plan.clear()
            raise BundleError(f"the policy's action is not finite: {output.action}")
        return self._with_drawn_gripper(output) if self.info.draws_gripper else output

    def _with_drawn_gripper(self, output: PolicyOutput) -> PolicyOutput:
        """Return an action with either of two gripper values, as probable as its std says."""
        action, std = output.action, float(output.std[GRIPPER])
        other = (
            self.info.action_low[GRIPPER] + self.info.action_high[GRIPPER] - action[GRIPPER]
        )
        if self._rng.random() >= share_of_other(std, abs(float(other - action[GRIPPER]))):
            return output
        drawn = action.copy()
        drawn[GRIPPER] = other
        return replace(output, action=drawn)

    def plan_on(
        self, resized: np.ndarray, proprio: np.ndarray, task: int
    ) -> list[PolicyOutput]:
        """Return the backend's actions on resized images, without checks and without history.

        Args:
            resized: Resized image, shape (h, w, 3), uint8; with a history of T (T, h, w, 3).
            proprio: Measured state, shape (7,); with a history of T (T, 7).
            task: Task id.

        Returns:
            The actions to execute, `info.execute` of them, the next one first.

        Raises:
            BundleError: If the program returns another number of actions.
        """
        torch = self._torch
        with torch.inference_mode():
            inputs = (
                torch.from_numpy(np.ascontiguousarray(resized))[None],
                torch.from_numpy(np.asarray(proprio, np.float32))[None],
                torch.tensor([task]),
            )
            action, std = self._programs.act(*inputs)
        if tuple(action.shape) != (1, *self.info.plan, 7):
            raise BundleError(
                f"the program returns actions of shape {tuple(action.shape)}; with execute "
                f"{self.info.execute} in bundle.json it must be {(1, *self.info.plan, 7)}"
            )
        actions, stds = action.reshape(-1, 7).numpy(), std.reshape(-1, 7).numpy()
        return [PolicyOutput(*row, inputs) for row in zip(actions, stds, strict=True)]

    def q_values(self, output: PolicyOutput) -> np.ndarray:
        """Return the values of an action by both critics, shape (2,); NaN without critic.

        They are those at the observation that the action was planned on.
        It takes about as long as `act`, and may run in another thread.
        """
        torch = self._torch
        with torch.inference_mode():
            action = torch.from_numpy(output.action)[None]
            q = self._programs.q(*output.inputs, action)
        return np.asarray(q[0].numpy())

    def task_id(self, task: str) -> int:
        """Return the id of a task; case and blanks do not count.

        Raises:
            BundleError: If the policy does not know the task; the message lists those it knows.
        """
        known = [*self.info.tasks, *self.info.aliases]
        found = find_task(task, known)
        if found is None:
            raise BundleError(
                f"unknown task {task!r}; {did_you_mean(task, known, quote=True)}"
            )
        return self.info.tasks.index(self.info.aliases.get(found, found))

    def _check_image(self, image: np.ndarray) -> None:
        camera = self.info.camera
        shape = (camera.height, camera.width, 3)
        if image.shape != shape or image.dtype != np.uint8:
            raise BundleError(
                f"image is {image.dtype} {image.shape}, "
                f"the bundle expects uint8 {shape} of camera {camera.name!r}"
            )

    def _with_history(
        self, resized: np.ndarray, proprio: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return image and state; for a policy with a history, stacked on the earlier ones.

        Before the first observation of an episode, the first one is repeated.
        """
        if not self.info.window:
            return resized, proprio
        self._history.append((resized, proprio))
        missing = self.info.history - len(self._history)
        images, states = [], []
        for earlier_image, earlier_state in [self._history[0]] * missing + [*self._history]:
            images.append(earlier_image)
            states.append(earlier_state)
        return np.stack(images), np.stack(states)


def _check_contract(
    path: Path, info: BundleInfo, camera: CameraSpec | None, rate: float | None
) -> None:
    """Compare a bundle with the constants of this code and with the robot's devices."""
    pairs: dict[str, tuple[object, object]] = {
        "action names": (info.action_names, ACTION_NAMES),
        "action low": (info.action_low, tuple(ACTION_LOW.tolist())),
        "action high": (info.action_high, tuple(ACTION_HIGH.tolist())),
        "action frame": (info.frame, BASE_FRAME),
        "gripper sense": (info.gripper, GRIPPER_SENSE),
        "proprio names": (info.proprio_names, PROPRIO_NAMES),
        "image pipeline": (info.resize, RESIZE_NAME),
    }
    if camera is not None:
        size = (camera.width, camera.height)
        pairs["camera name"] = (info.camera.name, camera.name)
        pairs["camera size"] = ((info.camera.width, info.camera.height), size)
    if rate is not None:
        pairs["rate"] = (info.rate, rate)
    for name, (found, expected) in pairs.items():
        if found != expected:
            raise BundleError(
                f"{path}: {name} is {found!r} in the bundle, {expected!r} here"
            )


def _lacking(policy: Policy, golden: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return what the outputs of a policy hold no numbers of."""
    inputs = (golden[name][0] for name in ("resized", "proprio", "task"))
    std = policy.plan_on(*inputs)[0].std
    lacking = []
    if np.isnan(golden["q"]).all():
        lacking.append("Q values (it has no critic)")
    if np.isnan(std).all():
        lacking.append("standard deviation (it is deterministic)")
    return tuple(lacking)


def _check_golden(
    bundle: Bundle, policy: Policy, golden: Mapping[str, np.ndarray], tolerance: Tolerance
) -> None:
    """Recompute the golden outputs and compare them; this also warms the programs up."""
    for index in range(len(golden["image"])):
        expected = {name: golden[name][index] for name in GOLDEN_NAMES}
        try:
            differences = _differences(policy, expected, tolerance)
        except RuntimeError as error:  # a program that does not fit its description
            reason = str(error).partition("\n")[0]
            raise BundleError(
                f"{bundle.path}: the program fails on golden image {index}: {reason}"
            ) from error
        for name, (found, allowed) in differences.items():
            if not found <= allowed:
                raise BundleError(
                    f"{bundle.path}: golden {name} {index} differs by {found:.3g}, "
                    f"at most {allowed:.3g} is expected: this computer does not reproduce the "
                    f"policy ({policy.backend})"
                )


def _differences(
    policy: Policy, expected: dict[str, np.ndarray], tolerance: Tolerance
) -> dict[str, tuple[float, float]]:
    """Return difference and largest difference allowed of each output on one golden image."""
    info = policy.info
    size = (info.image_height, info.image_width)
    newest = expected["resized"].reshape(-1, *size, 3)[-1]
    pixels = np.abs(resize_area(expected["image"], size).astype(int) - newest).max()

    task = int(expected["task"])
    outputs = policy.plan_on(expected["resized"], expected["proprio"], task)
    actions = np.stack([output.action for output in outputs])
    span = np.subtract(info.action_high, info.action_low)
    action = np.abs((actions - expected["action"].reshape(actions.shape)) / span).max()

    q = _largest_difference(policy.q_values(outputs[0]), expected["q"])
    scale = max(1.0, float(np.nanmax(np.abs(expected["q"]), initial=0.0)))
    return {
        "resized image": (pixels, PIXEL_TOLERANCE),
        "action": (action, tolerance.action),
        "Q": (q, tolerance.q * scale),
    }


def _largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of two arrays; infinity where only one of them is NaN."""
    if np.isnan(found).tolist() != np.isnan(expected).tolist():
        return float("inf")
    return float(np.nanmax(np.abs(found - expected), initial=0.0))
