"""Rollouts inside one process: observe, act, execute, let one control period pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.images import resize_area
from ptr_training.data.episode import Episode
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.refusal import StepResult
from widowx_bringup.camera.protocol import Camera

from .world import SimulatorError, World

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(image (H, W, 3) uint8 RGB, proprio (7,)) -> requested action (7,)."""


def rollout(
    world: World,
    controller: EefController,
    camera: Camera,
    act: Act,
    *,
    max_steps: int,
    disturb: Callable[[np.ndarray], np.ndarray] | None = None,
    image_size: tuple[int, int] | None = None,
    linger: int = 0,
    on_step: Callable[[StepResult], None] | None = None,
) -> Episode:
    """Let a policy act in the scene that the world was reset to.

    Args:
        world: Its time passes by one control period per step.
        controller: Of the world's arm; is reset first.
        camera: Source of the images.
        act: The policy.
        max_steps: Longest episode.
        disturb: Changes each action before it is executed, so that the episode also shows
            how to recover; what `act` wanted is kept as the requested action (M. Laskey et
            al., DART, CoRL 2017).
        image_size: Height and width of the images that `act` sees and the episode keeps;
            None: the camera's.
        linger: Steps to go on once success has been seen; the last `linger + 1` transitions
            of a success then end in solved scenes.
        on_step: Called with the result of each step, for counting.

    Returns:
        The episode, with outcome `success` or `failure` as the world judges its last scene.

    Raises:
        SimulatorError: If the world has not been reset to a layout.
    """
    if world.layout is None:
        raise SimulatorError(
            "the world has no scene yet; call World.reset before a rollout"
        )
    controller.reset()
    frames: list[np.ndarray] = []
    proprio: list[np.ndarray] = []
    requested: list[np.ndarray] = []
    executed: list[np.ndarray] = []
    stamps: list[int] = []

    def observe() -> None:
        frame = camera.read_latest()
        frames.append(
            frame.image if image_size is None else resize_area(frame.image, image_size)
        )
        proprio.append(controller.state().proprio.astype(np.float32))
        stamps.append(frame.stamp_ns)

    solved = 0  # observations in a row that showed success
    observe()
    while len(requested) < max_steps and solved <= linger:
        action = np.asarray(act(frames[-1], proprio[-1]), dtype=np.float32)
        requested.append(action)
        command = action if disturb is None else disturb(action)
        result = controller.execute(command)
        if on_step is not None:
            on_step(result)
        executed.append(result.executed.astype(np.float32))
        world.advance(1 / CONTROL_RATE)
        observe()
        solved = solved + 1 if world.success() else 0
    return Episode(
        id=f"{world.layout.task.replace(' ', '-')}-{world.layout.seed}",
        task=world.layout.task,
        frames=np.stack(frames),
        stamps_ns=np.array(stamps, dtype=np.int64),
        proprio=np.stack(proprio),
        requested=np.stack(requested),
        executed=np.stack(executed),
        outcome="success" if world.success() else "failure",
        seed=world.layout.seed,
    )
