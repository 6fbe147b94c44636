"""A bundle of a policy that moves by the brightness of its image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ptr_common.images import resize_area
from ptr_policy_node.bundle import BundleInfo, CameraSpec, QBand, write_bundle

TASK = "put the red cube on the white plate"
CAMERA = CameraSpec("front", 64, 48)


class Brightness(torch.nn.Module):
    """Moves by the image's brightness, so that a test can tell which image was acted on.

    Args:
        execute: Actions of a plan, all of them the same.
        says_nothing: Whether values and standard deviations are NaN, as of a deterministic
            policy without critic.
        std: Standard deviation of every dimension.
    """

    def __init__(
        self, execute: int = 1, says_nothing: bool = False, std: float = 0.01
    ) -> None:
        super().__init__()
        self.execute = execute
        self.scale = float("nan") if says_nothing else 1.0
        self.std = std

    @torch.jit.export
    def act(
        self, image: torch.Tensor, proprio: torch.Tensor, task: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        step = image.float().mean((1, 2, 3))[:, None] / 255 * 0.05
        action = torch.cat(
            [
                step.expand(-1, 3),
                torch.zeros_like(proprio[:, :3]),
                proprio[:, 6:].clamp(0, 1),
            ],
            1,
        )
        if self.execute > 1:
            action = action[:, None].repeat(1, self.execute, 1)
        return action, torch.full_like(action, self.std * self.scale)

    @torch.jit.export
    def q(
        self,
        image: torch.Tensor,
        proprio: torch.Tensor,
        task: torch.Tensor,
        action: torch.Tensor,
    ) -> torch.Tensor:
        return action[:, :2] * 10 * self.scale


def write_brightness_bundle(
    path: Path,
    execute: int = 1,
    *,
    says_nothing: bool = False,
    draws: bool = False,
    q_band: QBand | None = None,
) -> Path:
    """Write the bundle to a folder and return the folder.

    Args:
        path: The folder.
        execute: See `Brightness`.
        says_nothing: See `Brightness`.
        draws: Whether the gripper is drawn; every fifth draw is the other value.
        q_band: Of the demonstrations.
    """
    module = torch.jit.script(Brightness(execute, says_nothing, 0.4 if draws else 0.01))
    images = np.random.default_rng(0).integers(
        0, 256, (2, CAMERA.height, CAMERA.width, 3), np.uint8
    )
    resized = np.stack([resize_area(image, (16, 16)) for image in images])
    proprio, task = np.zeros((2, 7), np.float32), np.zeros(2, np.int64)
    inputs = [torch.from_numpy(value) for value in (resized, proprio, task)]
    action, _ = module.act(*inputs)
    q = module.q(*inputs, action.reshape(2, -1, 7)[:, 0])
    golden = {
        "image": images, "proprio": proprio, "task": task, "resized": resized,
        "action": action.numpy(), "q": q.numpy(),
    }  # fmt: skip
    info = BundleInfo("test", CAMERA, 16, 16, 5.0, (TASK,), "executed", {}, {}, "test")
    info = replace(info, execute=execute, draws_gripper=draws, q_band=q_band)
    write_bundle(path, info, {"policy.pt": module.save_to_buffer()}, golden)
    return path
