"""Rollouts inside one process: observe, act, execute, simulate one control period."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.images import resize_area
from ptr_training.data.episode import Episode
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.refusal import StepResult
from widowx_bringup.camera.protocol import Camera

from .scene import SimulatorError
from .world import World

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(image (H, W, 3) uint8 RGB, proprio (7,)) -> requested action (7,)."""

Disturb = Callable[[np.ndarray], np.ndarray]
"""Requested action (7,) -> action to execute (7,)."""


def rollout(
    world: World,
    controller: EefController,
    camera: Camera,
    act: Act,
    *,
    max_steps: int,
    disturb: Disturb | None = None,
    image_size: tuple[int, int] | None = None,
    linger: int = 0,
    on_step: Callable[[StepResult], None] | None = None,
) -> Episode:
    """Let a policy act in the scene that the world was reset to.

    Args:
        world: Simulates one control period per step.
        controller: Controls the world's arm; is reset first.
        camera: Source of the images.
        act: The policy.
        max_steps: Longest episode.
        disturb: Changes each action before it is executed, so that the episode also shows
            how to recover (M. Laskey et al., DART, CoRL 2017); `requested` stays that of `act`.
        image_size: Height and width of the images that `act` sees and the episode keeps;
            None: those of the camera.
        linger: Steps after the first success; the last `linger + 1` transitions of a
            success then end in solved scenes.
        on_step: Called with the result of each step, for counting.

    Returns:
        The episode, with the outcome `success` or `failure` of its last scene.

    Raises:
        SimulatorError: If the world has not been reset to a layout.
    """
    if world.layout is None:
        raise SimulatorError(
            "the world has no scene yet; call World.reset before a rollout"
        )
    controller.reset()
    steps = _Steps(controller, camera, image_size)
    solved = 0  # observations in a row that showed success
    steps.observe()
    while len(steps.requested) < max_steps and solved <= linger:
        result = steps.act(act, disturb)
        if on_step is not None:
            on_step(result)
        world.advance(1 / CONTROL_RATE)
        steps.observe()
        solved = solved + 1 if world.success() else 0
    return steps.to_episode(world)


class _Steps:
    """The observations and actions of one rollout so far."""

    def __init__(
        self,
        controller: EefController,
        camera: Camera,
        image_size: tuple[int, int] | None,
    ) -> None:
        self._controller = controller
        self._camera = camera
        self._image_size = image_size
        self._images: list[np.ndarray] = []  # (H, W, 3) uint8 RGB each
        self._proprio: list[np.ndarray] = []  # (7,) float32 each
        self._stamps: list[int] = []  # [ns]
        self.requested: list[np.ndarray] = []  # (7,) float32 each
        self._executed: list[np.ndarray] = []  # (7,) float32 each

    def observe(self) -> None:
        """Add the present image and proprioception."""
        frame = self._camera.read_latest()
        image = frame.image
        if self._image_size is not None:
            image = resize_area(image, self._image_size)
        self._images.append(image)
        self._proprio.append(self._controller.state().proprio.astype(np.float32))
        self._stamps.append(frame.stamp_ns)

    def act(self, act: Act, disturb: Disturb | None) -> StepResult:
        """Request an action for the newest observation, execute it and return its result."""
        action = np.asarray(act(self._images[-1], self._proprio[-1]), dtype=np.float32)
        self.requested.append(action)
        command = action if disturb is None else disturb(action)
        result = self._controller.execute(command)
        self._executed.append(result.executed.astype(np.float32))
        return result

    def to_episode(self, world: World) -> Episode:
        """Return the episode, with the outcome of the present scene."""
        layout = world.layout
        assert layout is not None
        return Episode(
            id=f"{layout.task.replace(' ', '-')}-{layout.seed}",
            task=layout.task,
            frames=np.stack(self._images),
            stamps_ns=np.array(self._stamps, dtype=np.int64),
            proprio=np.stack(self._proprio),
            requested=np.stack(self.requested),
            executed=np.stack(self._executed),
            outcome="success" if world.success() else "failure",
            seed=layout.seed,
        )
