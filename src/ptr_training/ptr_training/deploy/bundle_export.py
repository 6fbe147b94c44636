"""`ptr bundle`: a checkpoint becomes what the policy node loads."""

from __future__ import annotations

import argparse
import copy
import io
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ptr_common.images import resize_area
from ptr_policy_node.bundle import FORMS, BundleInfo, CameraSpec, write_bundle
from ptr_policy_node.policy import load_bundle
from ptr_training.data.episode import StoreError
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from ptr_training.models.inference_policy import InferencePolicy
    from ptr_training.training.checkpoint import Checkpoint

N_SMOOTH, N_REAL = 2, 2  # golden images
PARITY = 1e-5  # largest difference of what a bundle holds from the agent, scaled action
PARITY_Q = 1e-4  # and Q, relative where |Q| > 1: there large terms cancel


def main(argv: list[str]) -> None:
    """Export a checkpoint as a bundle for the policy node."""
    parser = argparse.ArgumentParser(prog="ptr bundle", description=main.__doc__)
    parser.add_argument("run", type=Path, help="run folder, or a checkpoint file")
    parser.add_argument(
        "--step",
        type=int,
        help="which checkpoint (default: the choice of `ptr select`, else the newest)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument(
        "--format",
        choices=FORMS,
        default="export",
        help="of its programs: torch.export, which every backend but one runs, or TorchScript [%(default)s]",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing bundle"
    )
    args = parser.parse_args(argv)

    from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint

    path = find_checkpoint(
        args.run, args.step if args.step is not None else chosen_step(args.run)
    )
    bundle_id = export(
        load_checkpoint(path), path, args.out, args.format, overwrite=args.overwrite
    )
    load_bundle(args.out, backend=args.format)  # as the policy node will
    print(f"{args.out}: bundle {bundle_id} of {path}")


def chosen_step(run: Path) -> int | None:
    """Return the step that `ptr select` chose; None if it has not been run."""
    file = run / "select" / "choice.json"
    return json.loads(file.read_text())["step"] if file.is_file() else None


def export(
    checkpoint: Checkpoint,
    source: Path,
    out: Path,
    form: str = "export",
    *,
    overwrite: bool = False,
) -> str:
    """Write the bundle of a checkpoint and return its id.

    Args:
        checkpoint: What to deploy.
        source: Where it was read, for the record.
        out: Folder to make.
        form: Of the programs, one of `bundle.FORMS`.
        overwrite: Replace an existing folder.

    Raises:
        TrainingError: If the programs do not reproduce the agent.
    """
    import torch

    deployed = checkpoint.build_agent(torch.device("cpu")).deployed().eval()
    programs, golden = make_programs(deployed, golden_inputs(checkpoint), form)
    return write_bundle(
        out, bundle_info(checkpoint, source), programs, golden, overwrite=overwrite
    )


def make_programs(
    deployed: InferencePolicy, inputs: dict[str, np.ndarray], form: str
) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """Return a bundle's programs, checked against the agent, and its golden inputs and outputs.

    Args:
        deployed: The agent's policy and critic, in evaluation mode.
        inputs: From `golden_inputs`.
        form: One of `bundle.FORMS`.

    Raises:
        TrainingError: If the programs do not reproduce the agent.
    """
    import torch

    image, proprio, task = (
        torch.from_numpy(inputs[name]) for name in ("resized", "proprio", "task")
    )
    with torch.inference_mode():
        action, _ = deployed.act(image, proprio, task)
        golden = inputs | {
            "action": action.numpy(),
            "q": deployed.q(image, proprio, task, action).numpy(),
        }
    if form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # until PyTorch drops it
            scripted = torch.jit.script(deployed)
        _check_parity(deployed, scripted.act, scripted.q, golden)
        return {"policy.pt": scripted.save_to_buffer()}, golden
    arguments = tuple(
        torch.zeros(1, *each.shape[1:], dtype=each.dtype)
        for each in (image, proprio, task, action)
    )
    act, q = _trace(deployed, "act", arguments[:3]), _trace(deployed, "q", arguments)
    _check_parity(deployed, act.module(), q.module(), golden)
    return {"act.pt2": _save(act), "q.pt2": _save(q)}, golden


def _trace(
    deployed: InferencePolicy, method: str, arguments: tuple[Tensor, ...]
) -> ExportedProgram:
    """Return a method as a graph of core ATen operators for one picture, with only the weights that it uses."""
    import torch

    module = copy.copy(deployed)
    module.forward = getattr(module, method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about itself
        program = torch.export.export(module, arguments).run_decompositions()
    for node in reversed(program.graph.nodes):
        if node.op == "call_function" and "_assert_" in str(node.target):
            program.graph.erase_node(
                node
            )  # `Policy` checks the inputs; the operators are not core ones
        node.meta = (
            {"val": node.meta["val"]} if "val" in node.meta else {}
        )  # not the paths of this computer's files
    program.graph.eliminate_dead_code()
    unused = {
        node.name: node
        for node in program.graph.nodes
        if node.op == "placeholder" and not node.users
    }
    for spec in list(program.graph_signature.input_specs):
        if spec.target in program.state_dict and spec.arg.name in unused:
            program.graph.erase_node(unused[spec.arg.name])
            program.graph_signature.input_specs.remove(spec)
            del program.state_dict[spec.target]
    program.graph_module.recompile()
    program.validate()
    return program


def _save(program: ExportedProgram) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _check_parity(
    deployed: InferencePolicy, act: Any, q: Any, golden: dict[str, np.ndarray]
) -> None:
    """Raise TrainingError if programs, given one picture at a time, do not return the golden outputs."""
    import torch

    span = (deployed.high - deployed.low).numpy()
    worst, worst_q = 0.0, 0.0
    for index in range(len(golden["image"])):
        row = {name: values[index : index + 1] for name, values in golden.items()}
        inputs = [torch.from_numpy(row[name]) for name in ("resized", "proprio", "task")]
        with torch.inference_mode():
            action, _ = act(*inputs)
            values, expected = q(*inputs, action).numpy(), row["q"]
        worst = max(worst, float(np.abs((action.numpy() - row["action"]) / span).max()))
        error = np.where(np.isnan(values) & np.isnan(expected), 0.0, values - expected)
        worst_q = np.maximum(
            worst_q, np.abs(error / np.maximum(1.0, np.abs(np.nan_to_num(expected)))).max()
        )
    if not (worst <= PARITY and worst_q <= PARITY_Q):
        raise TrainingError(
            f"the exported policy differs from the agent: action {worst:.2g} > {PARITY} or Q {worst_q:.2g} > {PARITY_Q}"
        )


def bundle_info(checkpoint: Checkpoint, source: Path) -> BundleInfo:
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
        checkpoint={
            "path": str(source),
            "step": checkpoint.step,
            "agent_steps": checkpoint.agent["steps"],
        },
        code_version=version("ptr_training"),
        action_low=card.action_low,
        action_high=card.action_high,
        history=checkpoint.config.agent.sampling.history,
        aliases=checkpoint.tasks.aliases,
    )


def golden_inputs(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Return golden images of camera size with proprio, task and the image resized.

    Smooth random images, which any change of the resize shows in, and pictures of the
    demonstrations enlarged to the camera's size where the store is at hand.
    """
    card, problem = checkpoint.card, checkpoint.problem
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (N_SMOOTH, 24, 32, 3), np.uint8)
    frames = [*noise, *_real_frames(checkpoint)]
    camera_size = (card.camera_width, card.camera_height)
    images = np.stack(
        [cv2.resize(frame, camera_size, interpolation=cv2.INTER_LINEAR) for frame in frames]
    )
    spread = rng.standard_normal((len(images), 7)) * np.array(problem.proprio_std)
    proprio = (np.array(problem.proprio_mean) + spread).astype(np.float32)
    resized = np.stack(
        [resize_area(image, (problem.height, problem.width)) for image in images]
    )
    if (
        history := checkpoint.config.agent.sampling.history
    ) > 1:  # each window ends with its image
        window = (np.arange(len(images))[:, None] + np.arange(1 - history, 1)) % len(images)
        proprio, resized = proprio[window], resized[window]
    task = np.arange(len(images))[::-1] % len(checkpoint.tasks.names)
    return {"image": images, "proprio": proprio, "task": task, "resized": resized}


def _real_frames(checkpoint: Checkpoint) -> list[np.ndarray]:
    source = checkpoint.data["target"] or checkpoint.data["prior"][0]
    try:
        store = EpisodeStore.open(source["path"])
    except StoreError:  # trained elsewhere
        return []
    rows = store.rows
    return [
        np.array(store.frames[rows[index]])
        for index in np.linspace(0, len(rows) - 1, N_REAL).astype(int)
    ]
