"""Rollouts inside one process: observe, act, execute, let one control period pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ptr_policy_node.images import resize_area
from ptr_policy_node.spec import CONTROL_RATE

from .camera import Camera
from .controller import EefController
from .simulator import World

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(image (H, W, 3) uint8 RGB, proprio (7,)) -> requested action (7,)."""


@dataclass(frozen=True)
class Rollout:
    """What happened: T transitions between T + 1 observations."""

    frames: np.ndarray  # (T + 1, H, W, 3) uint8 RGB
    proprio: np.ndarray  # (T + 1, 7) float32
    requested: np.ndarray  # (T, 7) float32
    executed: np.ndarray  # (T, 7) float32
    stamps_ns: np.ndarray  # (T + 1,) int64
    success: bool
    clipped: int  # steps that a limit shortened
    rejected: int  # steps refused


def rollout(
    world: World,
    controller: EefController,
    camera: Camera,
    act: Act,
    *,
    max_steps: int,
    image_size: tuple[int, int] | None = None,
    linger: int = 0,
) -> Rollout:
    """Let a policy act in the scene the world was reset to.

    Args:
        world: Its time passes by one control period per step.
        controller: Is reset first.
        camera: Source of the images.
        act: The policy.
        max_steps: Longest episode.
        image_size: Height and width the images are resized to before `act` sees them; None keeps the camera's.
        linger: Steps to go on after success was seen first.
    """
    controller.reset()
    clipped, rejected = controller.clipped, controller.rejected
    frames: list[np.ndarray] = []
    proprio: list[np.ndarray] = []
    requested: list[np.ndarray] = []
    executed: list[np.ndarray] = []
    stamps: list[int] = []

    def observe() -> tuple[np.ndarray, np.ndarray]:
        frame, state = camera.read_latest(), controller.state()
        frames.append(frame.image if image_size is None else resize_area(frame.image, image_size))
        proprio.append(state.proprio.astype(np.float32))
        stamps.append(frame.stamp_ns)
        return frames[-1], proprio[-1]

    solved = 0  # observations in a row that showed success
    image, state = observe()
    while len(requested) < max_steps and solved <= linger:
        requested.append(np.asarray(act(image, state), dtype=np.float32))
        executed.append(controller.execute(requested[-1]).executed.astype(np.float32))
        world.advance(1 / CONTROL_RATE)
        image, state = observe()
        solved = solved + 1 if world.success() else 0
    return Rollout(
        np.stack(frames), np.stack(proprio), np.stack(requested), np.stack(executed), np.array(stamps, dtype=np.int64),
        world.success(), controller.clipped - clipped, controller.rejected - rejected,
    )  # fmt: skip
