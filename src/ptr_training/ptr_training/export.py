"""`ptr bundle`: a checkpoint becomes what the policy node loads."""

from __future__ import annotations

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ptr_policy_node.bundle import BundleInfo, CameraSpec, load_bundle, write_bundle
from ptr_policy_node.images import resize_area

from .episodes import EpisodeStore, StoreError, TrainingError

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

N_SMOOTH, N_REAL = 2, 2  # golden images
PARITY = 1e-5  # largest difference of the scripted module from the agent, scaled action and relative Q


def main(argv: list[str]) -> None:
    """Export a checkpoint as a bundle for the policy node."""
    parser = argparse.ArgumentParser(prog="ptr bundle", description=main.__doc__)
    parser.add_argument("run", type=Path, help="run folder, or a checkpoint file")
    parser.add_argument(
        "--step", type=int, help="which checkpoint (default: the choice of `ptr select`, else the newest)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    args = parser.parse_args(argv)

    from .checkpoint import find_checkpoint, load_checkpoint

    path = find_checkpoint(args.run, args.step if args.step is not None else chosen_step(args.run))
    bundle_id = export(load_checkpoint(path), path, args.out, overwrite=args.overwrite)
    load_bundle(args.out)  # as the policy node will
    print(f"{args.out}: bundle {bundle_id} of {path}")


def chosen_step(run: Path) -> int | None:
    """Return the step that `ptr select` chose; None if it has not been run."""
    file = run / "select" / "choice.json"
    return json.loads(file.read_text())["step"] if file.is_file() else None


def export(checkpoint: Checkpoint, source: Path, out: Path, *, overwrite: bool = False) -> str:
    """Write the bundle of a checkpoint and return its id.

    Raises:
        TrainingError: If the scripted module does not reproduce the agent.
    """
    import torch

    eager = checkpoint.build_agent(torch.device("cpu")).deployed().eval()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # TorchScript is kept: the node needs no Python code of ours
        scripted = torch.jit.script(eager)
    golden = golden_inputs(checkpoint)
    image, proprio, task = (torch.from_numpy(golden[name]) for name in ("resized", "proprio", "task"))
    with torch.inference_mode():
        action, _ = eager.act(image, proprio, task)
        golden |= {"action": action.numpy(), "q": eager.q(image, proprio, task, action).numpy()}
        _check_parity(checkpoint, scripted, golden)
    return write_bundle(out, describe(checkpoint, source), scripted.save_to_buffer(), golden, overwrite=overwrite)


def _check_parity(checkpoint: Checkpoint, scripted: Any, golden: dict[str, np.ndarray]) -> None:
    import torch

    image, proprio, task = (torch.from_numpy(golden[name]) for name in ("resized", "proprio", "task"))
    action, _ = scripted.act(image, proprio, task)
    q, expected = scripted.q(image, proprio, task, action).numpy(), golden["q"]
    span = np.subtract(checkpoint.problem.action_high, checkpoint.problem.action_low)
    worst = float(np.abs((action.numpy() - golden["action"]) / span).max())
    worst_q = float(np.nanmax(np.abs(q - expected) / np.maximum(1.0, np.abs(expected)), initial=0.0))
    if not max(worst, worst_q) <= PARITY or (np.isnan(q) != np.isnan(expected)).any():
        raise TrainingError(
            f"the exported policy differs from the agent: action {worst:.2g}, Q {worst_q:.2g} > {PARITY}"
        )


def describe(checkpoint: Checkpoint, source: Path) -> BundleInfo:
    """Return the contents of `bundle.json`."""
    card = checkpoint.card
    return BundleInfo(
        agent=checkpoint.config.agent_name,
        camera=CameraSpec(card.camera, card.camera_width, card.camera_height),
        image_height=card.image_height,
        image_width=card.image_width,
        resize=card.resize,
        rate=card.rate,
        tasks=tuple(checkpoint.tasks.names),
        command=card.command,
        data=checkpoint.data,
        checkpoint={"path": str(source), "step": checkpoint.step, "agent_steps": checkpoint.agent["steps"]},
        code_version=version("ptr_training"),
        action_low=card.action_low,
        action_high=card.action_high,
    )


def golden_inputs(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Return golden images of camera size with proprio, task and the image resized.

    Smooth random images, which any change of the resize shows in, and pictures of the demonstrations
    enlarged to the camera's size where the store is at hand.
    """
    card, problem = checkpoint.card, checkpoint.problem
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (N_SMOOTH, 24, 32, 3), np.uint8)
    frames = [*noise, *_real_frames(checkpoint)]
    camera_size = (card.camera_width, card.camera_height)
    images = np.stack([cv2.resize(frame, camera_size, interpolation=cv2.INTER_LINEAR) for frame in frames])
    spread = rng.standard_normal((len(images), 7)) * np.array(problem.proprio_std)
    return {
        "image": images,
        "proprio": (np.array(problem.proprio_mean) + spread).astype(np.float32),
        "task": np.arange(len(images))[::-1] % len(checkpoint.tasks.names),
        "resized": np.stack([resize_area(image, (problem.height, problem.width)) for image in images]),
    }


def _real_frames(checkpoint: Checkpoint) -> list[np.ndarray]:
    source = checkpoint.data["target"] or checkpoint.data["prior"][0]
    try:
        store = EpisodeStore.open(source["path"])
    except StoreError:  # trained elsewhere
        return []
    rows = store.rows
    return [np.array(store.frames[rows[index]]) for index in np.linspace(0, len(rows) - 1, N_REAL).astype(int)]
