"""The deployed policy: a bundle checked against this robot and this computer, ready to act.

PyTorch is imported only when a bundle is loaded.
"""

from __future__ import annotations

import io
import zipfile
from collections import deque
from dataclasses import dataclass
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

from .backends import Backend, open_backend
from .bundle import (
    GOLDEN_NAMES,
    GRIPPER_SENSE,
    Bundle,
    BundleError,
    BundleInfo,
    CameraSpec,
    read_bundle,
)

PIXEL_TOLERANCE = 1  # resized images may differ by rounding between versions of OpenCV


class Tolerance(NamedTuple):
    """How far a computer may be from the golden outputs."""

    action: float  # of a dimension's range
    q: float  # absolute, and relative where |Q| > 1


TOLERANCES = {
    "float32": Tolerance(1e-4, 1e-3),  # other CPUs sum in another order
    "bfloat16": Tolerance(
        1e-2, 5e-2
    ),  # twice what trained networks were found to differ by
}


@dataclass(frozen=True)
class PolicyOutput:
    """What a policy wants to do."""

    action: np.ndarray  # (7,) robot units, see spec.ACTION_NAMES
    std: np.ndarray  # (7,) same units; NaN for a deterministic policy
    q: np.ndarray  # (2,) value of the action by both critics; NaN without critic


@dataclass(frozen=True)
class Choice:
    """An action before its value is known: it can be sent at once, and judged afterwards."""

    action: np.ndarray  # (7,) robot units
    std: np.ndarray  # (7,) same units
    inputs: tuple[Any, ...]  # what the action follows from, as tensors


def load_bundle(
    path: Path | str,
    *,
    camera: CameraSpec | None = None,
    rate: float | None = None,
    threads: int = 1,
    backend: str = "auto",
    precision: str = "float32",
) -> Policy:
    """Load a bundle after checking everything that must fit.

    Args:
        path: The bundle's folder.
        camera: The camera that will be used; None: not known yet (`Policy.act` still checks
            the size).
        rate: Control rate of the robot [Hz]; None: whatever the bundle wants.
        threads: CPU threads of PyTorch in this process.
        backend: What runs the bundle: one of `backends.BACKENDS`, or `auto`.
        precision: One of `PRECISIONS`.

    Raises:
        BundleError: For the first thing that does not fit, with the value found and the
        value expected.
    """
    bundle = read_bundle(path)
    _check_contract(bundle.path, bundle.info, camera, rate)
    name, opened = open_backend(backend, bundle, precision, threads)
    policy = Policy(bundle.info, bundle.bundle_id, opened, f"{name} {precision}")
    _check_golden(bundle, policy, TOLERANCES[precision])
    return policy


class Policy:
    """A checked policy, ready to act; made by `load_bundle`.

    Attributes:
        info: What the bundle says of itself.
        bundle_id: The bundle's id.
        execution: Backend and precision that run it, such as "export float32".
    """

    def __init__(
        self, info: BundleInfo, bundle_id: str, backend: Backend, execution: str
    ) -> None:
        import torch

        self.info = info
        self.bundle_id = bundle_id
        self.execution = execution
        self._backend = backend
        self._torch = torch
        self._seen: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=info.history)

    def reset(self) -> None:
        """Forget what was seen: an episode begins."""
        self._seen.clear()

    def act(self, image: np.ndarray, proprio: np.ndarray, task: str) -> PolicyOutput:
        """Return the policy's action and its value; see `choose`."""
        return self._judged(self.choose(image, proprio, task))

    def choose(self, image: np.ndarray, proprio: np.ndarray, task: str) -> Choice:
        """Return the policy's action; `value` tells its value, which takes as long again.

        Args:
            image: RGB image of the bundle's camera, shape (H, W, 3), uint8.
            proprio: Measured state, shape (7,), see spec.PROPRIO_NAMES.
            task: One of `info.tasks`, or an alias.

        Raises:
            BundleError: If the image has another size or type, the state is not finite, the
                task is unknown, or the policy's action is not finite.
        """
        camera = self.info.camera
        if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
            raise BundleError(
                f"image is {image.dtype} {image.shape}, the bundle expects uint8 ({camera.height}, {camera.width}, 3) "
                f"of camera {camera.name!r}"
            )
        if np.shape(proprio) != (7,) or not np.isfinite(proprio).all():
            raise BundleError(f"proprio is {np.asarray(proprio)}, expected 7 finite values")
        resized = resize_area(image, (self.info.image_height, self.info.image_width))
        choice = self._choose_on(
            *self._observed(resized, np.asarray(proprio, np.float32)), self.task_id(task)
        )
        if not np.isfinite(choice.action).all():
            raise BundleError(f"the policy's action is not finite: {choice.action}")
        return choice

    def value(self, choice: Choice) -> np.ndarray:
        """Return what both critics think of a chosen action, shape (2,); NaN without critic."""
        torch = self._torch
        with torch.inference_mode():
            q = self._backend.q(*choice.inputs, torch.from_numpy(choice.action)[None])
        return np.asarray(q[0].numpy())

    def task_id(self, task: str) -> int:
        """Return the id of a task; raises BundleError listing those the policy knows."""
        known = self.info.aliases.get(task, task)
        if known not in self.info.tasks:
            there = ", ".join(map(repr, [*self.info.tasks, *self.info.aliases]))
            raise BundleError(f"unknown task {task!r}; this bundle knows: {there}")
        return self.info.tasks.index(known)

    def act_on(self, resized: np.ndarray, proprio: np.ndarray, task: int) -> PolicyOutput:
        """Return the backend's raw outputs for one image already resized, or for a window of them (T, h, w, 3)."""
        return self._judged(self._choose_on(resized, proprio, task))

    def _observed(
        self, resized: np.ndarray, proprio: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what the policy looks at, with earlier observations if it wants them."""
        if not self.info.window:
            return resized, proprio
        self._seen.append((resized, proprio))
        missing = self.info.history - len(self._seen)
        seen = [self._seen[0]] * missing + list(self._seen)
        return np.stack([image for image, _ in seen]), np.stack(
            [state for _, state in seen]
        )

    def _choose_on(self, resized: np.ndarray, proprio: np.ndarray, task: int) -> Choice:
        torch = self._torch
        with torch.inference_mode():
            inputs = (
                torch.from_numpy(np.ascontiguousarray(resized))[None],
                torch.from_numpy(np.asarray(proprio, np.float32))[None],
                torch.tensor([task]),
            )
            action, std = self._backend.act(*inputs)
        return Choice(action[0].numpy(), std[0].numpy(), inputs)

    def _judged(self, choice: Choice) -> PolicyOutput:
        return PolicyOutput(choice.action, choice.std, self.value(choice))


def _check_contract(
    path: Path, info: BundleInfo, camera: CameraSpec | None, rate: float | None
) -> None:
    """Compare the bundle with the constants of this code and with the robot's devices."""
    ours: dict[str, tuple[object, object]] = {
        "action names": (info.action_names, ACTION_NAMES),
        "action low": (info.action_low, tuple(ACTION_LOW.tolist())),
        "action high": (info.action_high, tuple(ACTION_HIGH.tolist())),
        "action frame": (info.frame, BASE_FRAME),
        "gripper sense": (info.gripper, GRIPPER_SENSE),
        "proprio names": (info.proprio_names, PROPRIO_NAMES),
        "image pipeline": (info.resize, RESIZE_NAME),
    }
    if camera is not None:
        ours["camera name"] = (info.camera.name, camera.name)
        ours["camera size"] = (
            (info.camera.width, info.camera.height),
            (camera.width, camera.height),
        )
    if rate is not None:
        ours["rate"] = (info.rate, rate)
    for what, (found, expected) in ours.items():
        if found != expected:
            raise BundleError(
                f"{path}: {what} is {found!r} in the bundle, {expected!r} here"
            )


def _check_golden(bundle: Bundle, policy: Policy, tolerance: Tolerance) -> None:
    """Recompute the golden outputs; this also warms the programs up."""
    try:
        with np.load(io.BytesIO(bundle.files["golden.npz"]), allow_pickle=False) as file:
            golden = {name: file[name] for name in GOLDEN_NAMES}
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{bundle.path / 'golden.npz'} is truncated or incomplete: {error}"
        ) from error
    if len(golden["image"]) == 0:
        raise BundleError(f"{bundle.path / 'golden.npz'} holds no golden image")
    span = np.subtract(policy.info.action_high, policy.info.action_low)
    size = (policy.info.image_height, policy.info.image_width)
    for index, image in enumerate(golden["image"]):
        expected = {name: golden[name][index] for name in GOLDEN_NAMES}
        decision = policy.act_on(
            expected["resized"], expected["proprio"], int(expected["task"])
        )
        newest = expected["resized"].reshape(-1, *size, 3)[-1]
        pixels = np.abs(resize_area(image, size).astype(int) - newest).max()
        scale = max(1.0, float(np.nanmax(np.abs(expected["q"]), initial=0.0)))
        differences = {
            "resized image": (pixels, PIXEL_TOLERANCE),
            "action": (
                np.abs((decision.action - expected["action"]) / span).max(),
                tolerance.action,
            ),
            "Q": (_difference(decision.q, expected["q"]), tolerance.q * scale),
        }
        for what, (found, allowed) in differences.items():
            if not found <= allowed:
                raise BundleError(
                    f"{bundle.path}: golden {what} {index} differs by {found:.3g}, at most {allowed:.3g} is expected: "
                    f"this computer does not reproduce the policy ({policy.execution})"
                )


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference; NaN is equal to NaN and nothing else."""
    if np.isnan(found).tolist() != np.isnan(expected).tolist():
        return float("inf")
    return float(np.nanmax(np.abs(found - expected), initial=0.0))
