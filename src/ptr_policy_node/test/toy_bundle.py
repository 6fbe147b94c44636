"""A bundle of a policy whose outputs follow from its inputs by hand, in either form."""

from __future__ import annotations

import copy
import functools
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptr_common.files import sha256
from ptr_common.images import resize_area
from ptr_policy_node.bundle import BundleInfo, CameraSpec, write_bundle

torch.set_num_threads(1)  # the networks are tiny: threads would only wait for each other
CAMERA = CameraSpec("front", 32, 24)
SIZE = 8  # of the policy's image
INFO = BundleInfo(
    agent="cql",
    camera=CAMERA,
    image_height=SIZE,
    image_width=SIZE,
    rate=5.0,
    tasks=("a", "b"),
    command="executed",
    data={"target": {"name": "t", "sha256": "0" * 64}},
    checkpoint={"path": "run/checkpoints/step_1.pt", "step": 1},
    code_version="0.1.0",
)


class Toy(nn.Module):
    """Acts by proprioception, task and brightness of the image, averaged by a convolution."""

    def __init__(self, gain: float = 0.01) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.grey = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.grey.weight, 1 / 3)

    @torch.jit.export
    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        grey = self.grey(image.permute(0, 3, 1, 2).to(torch.float32) / 255.0)
        action = self.gain * proprio + self.gain * (
            grey.mean((1, 2, 3)) + task.to(torch.float32)
        ).unsqueeze(1)
        return action, torch.zeros_like(action)

    @torch.jit.export
    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        return torch.stack([action.sum(1), action.sum(1) - 1.0], 1)


def programs(module: nn.Module, form: str, size: int = SIZE) -> dict[str, bytes]:
    """Return the files of a module with `act` and `q`."""
    if form == "torchscript":
        return {"policy.pt": torch.jit.script(module).save_to_buffer()}
    inputs = (
        torch.zeros(1, size, size, 3, dtype=torch.uint8),
        torch.zeros(1, 7),
        torch.zeros(1, dtype=torch.int64),
    )
    return {
        "act.pt2": archive(module, "act", inputs),
        "q.pt2": archive(module, "q", (*inputs, torch.zeros(1, 7))),
    }


def archive(module: nn.Module, method: str, inputs: tuple[Tensor, ...]) -> bytes:
    """Return the archive of one method, of core operators without notes on their origin."""
    module = copy.copy(module)
    module.forward = getattr(module, method)
    program = torch.export.export(module, inputs).run_decompositions()
    for node in reversed(program.graph.nodes):
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
        if "_assert_" in str(node.target):
            program.graph.erase_node(node)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def golden(module: nn.Module | None = None) -> dict[str, np.ndarray]:
    """Return golden inputs and outputs."""
    module = module or Toy()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, CAMERA.height, CAMERA.width, 3), np.uint8)
    values = {
        "image": image,
        "resized": np.stack([resize_area(single, (SIZE, SIZE)) for single in image]),
        "proprio": rng.normal(size=(2, 7)).astype(np.float32),
        "task": np.array([0, 1]),
    }
    inputs = [torch.from_numpy(values[name]) for name in ("resized", "proprio", "task")]
    with torch.no_grad():
        action, _ = module.act(*inputs)
        return values | {"action": action.numpy(), "q": module.q(*inputs, action).numpy()}


def write(
    path: Path, info: BundleInfo = INFO, form: str = "export", **changes: np.ndarray
) -> str:
    """Write the bundle, with some golden arrays replaced, and return its id."""
    return write_bundle(path, info, toy_programs(form), golden() | changes)


@functools.cache
def toy_programs(form: str) -> dict[str, bytes]:
    """Return the files of the toy policy in a form; made once."""
    return programs(Toy(), form)


def edit(path: Path, **changes: Any) -> None:
    """Change `bundle.json`, hashes included, so that only the check in question can fail."""
    values = json.loads((path / "bundle.json").read_text())
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
    values["sha256"] = {name: sha256(path / name) for name in values["sha256"]}
    (path / "bundle.json").write_text(json.dumps(values))
