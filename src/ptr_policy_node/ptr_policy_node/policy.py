"""The deployed policy: a bundle checked against this robot and this computer, ready to act.

PyTorch is imported only when a bundle is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ptr_common.action_space import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_NAMES,
    BASE_FRAME,
    PROPRIO_NAMES,
)
from ptr_common.images import RESIZE_NAME, resize_area

from .backends import open_backend
from .bundle import (
    GOLDEN_NAMES,
    GRIPPER_SENSE,
    Bundle,
    BundleError,
    BundleInfo,
    CameraSpec,
    read_bundle,
)
from .golden_values import read_golden
from .loaded_policy import Policy, PolicyOutput, share_of_other
from .served.description import Rerank, Served, is_served
from .served.programs import Critic, ServedPrograms
from .signature import check_signature

__all__ = [
    "TOLERANCES",
    "Policy",
    "PolicyOutput",
    "load_bundle",
    "share_of_other",
]

PIXEL_TOLERANCE = 1
"""Largest difference of a resized pixel; versions of OpenCV round differently."""


NO_CRITIC = "Q values (it has no critic)"
"""What a policy without values lacks."""


class Tolerance(NamedTuple):
    """Largest differences from the golden outputs."""

    action: float  # relative to the range of a dimension
    q: float  # absolute, and relative where |Q| > 1


TOLERANCES = {
    "float32": Tolerance(1e-4, 1e-3),  # CPUs sum in different orders
    "bfloat16": Tolerance(1e-2, 5e-2),  # twice the error measured on trained networks
}
"""Tolerance of each precision."""


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
        path: The bundle's folder, or the description of a served policy, which says itself
            where it runs: backend, precision and threads are then without effect.
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
    if key is not None and bundle.served is not None:
        raise BundleError(
            f"{path} is served elsewhere, so no signature can vouch for it; leave out "
            "policy_key, or have a signed bundle act"
        )
    if key is not None:
        check_signature(bundle.path, bundle.sha256, key)
    _check_contract(bundle.path, bundle.info, camera, rate)
    if bundle.served is not None:
        return _open_served(bundle, bundle.served)
    name, programs = open_backend(backend, bundle, precision, threads)
    policy = Policy(bundle.info, bundle.sha256, programs, f"{name} {precision}")
    golden = read_golden(bundle)
    _check_golden(bundle, policy, golden, TOLERANCES[precision])
    first = (golden[name][0] for name in ("resized", "proprio", "task"))
    policy.lacks = _lacking(golden["q"], policy.plan_on(*first)[0].std)
    return policy


def _open_served(bundle: Bundle, served: Served) -> Policy:
    """Return the policy behind a server, which has answered once.

    Raises:
        BundleError: If it does not answer, or the critic is refused.
    """
    rerank = served.rerank
    critic = _load_critic(rerank, served.info) if rerank is not None else None
    programs = ServedPrograms(served, critic)
    plan = programs.check()
    policy = Policy(bundle.info, bundle.sha256, programs, f"served {served.protocol}")
    q = np.zeros(2) if critic is not None else plan.q
    policy.lacks = _lacking(q, plan.std)
    return policy


def _load_critic(rerank: Rerank, info: BundleInfo) -> Critic:
    """Return the critic of a bundle, for actions of any policy.

    Args:
        rerank: Names the bundle.
        info: Of the policy whose actions it values: with the bundle's camera, and tasks of it.

    Raises:
        BundleError: If the bundle is refused, or its critic cannot value an observation.
    """
    path = rerank.bundle
    if is_served(path):
        raise BundleError(f"{path} (rerank.bundle) is served; give the folder of a bundle")
    policy = load_bundle(path, camera=info.camera, rate=info.rate, expected=rerank.sha256)
    if NO_CRITIC in policy.lacks or policy.info.window:
        raise BundleError(
            f"{path} (rerank.bundle) has no critic of single observations; give a bundle of "
            "PTR or CQL"
        )
    for task in info.tasks:
        policy.task_id(task)
    return policy.value_of


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


def _lacking(q: np.ndarray, std: np.ndarray) -> tuple[str, ...]:
    """Return what a policy says of no action, by Q values and standard deviations of its own."""
    lacking = []
    if np.isnan(q).all():
        lacking.append(NO_CRITIC)
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
