"""`ptr bundle`: exports a checkpoint as a bundle, the folder that the policy node loads."""

from __future__ import annotations

import copy
import io
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ptr_common.images import resize_area
from ptr_policy_node.bundle import BundleInfo, CameraSpec, write_bundle
from ptr_policy_node.policy import load_bundle
from ptr_policy_node.signature import private_key, sign
from ptr_training.data.episode import StoreError
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError

from .bundle_options import make_parser
from .demonstrated_band import demonstrated_band
from .portable import portable, portable_path, without_origins

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from ptr_training.models.inference_policy import InferencePolicy
    from ptr_training.training.checkpoint import Checkpoint

N_SMOOTH, N_REAL = 2, 2  # golden images
PARITY = 1e-5  # largest difference of an action from the agent's, relative to its range
PARITY_Q = 1e-4  # the same of Q, relative where |Q| > 1: there large terms cancel


def main(argv: list[str]) -> None:
    """Export a checkpoint as a bundle for the policy node."""
    args = make_parser().parse_args(argv)
    from ptr_training.training.checkpoint import (  # imports PyTorch
        chosen_step,
        find_checkpoint,
        load_checkpoint,
    )

    key = private_key(args.sign) if args.sign else None  # before the work is done
    step = chosen_step(args.run) if args.step is None else args.step
    path = find_checkpoint(args.run, step)
    checkpoint = acting_by(
        load_checkpoint(path),
        act=args.act,
        act_samples=args.act_samples,
        draw_gripper=args.draw_gripper,
        gripper_temperature=args.gripper_temperature,
    )
    export(checkpoint, path, args.out, args.format, overwrite=args.overwrite)
    policy = load_bundle(args.out, backend=args.format)  # as the policy node will
    if key is not None:
        sign(args.out, policy.sha256, key)
    signed = f", signed with {args.sign}" if key is not None else ""
    print(
        f"{args.out}: bundle {policy.bundle_id} of {path}; full name {policy.sha256}{signed}"
    )


def acting_by(checkpoint: Checkpoint, **changes: object) -> Checkpoint:
    """Return a checkpoint whose agent acts in another way.

    Args:
        checkpoint: The checkpoint.
        changes: Settings of the section `agent`, such as `act`; None: as configured.

    Raises:
        TrainingError: If its agent has no critic.
    """
    from ptr_training.training.config import override

    known = {name: value for name, value in changes.items() if value is not None}
    overrides = [f"agent.{name}={str(value).lower()}" for name, value in known.items()]
    if not overrides:
        return checkpoint
    if not hasattr(checkpoint.config.agent, "act"):
        raise TrainingError(
            f"{', '.join(overrides)}: only an agent with a critic can act in another way, and "
            f"{checkpoint.config.agent_name} has none"
        )
    return replace(checkpoint, config=override(checkpoint.config, overrides))


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
        checkpoint: The checkpoint to deploy.
        source: Its file, for the record.
        out: Folder to make.
        form: Format of the programs, one of `bundle.FORMS`.
        overwrite: Replace an existing folder.

    Raises:
        TrainingError: If the programs do not reproduce the agent.
    """
    import torch

    from ptr_training.training.build import restore_agent

    deployed = restore_agent(checkpoint, torch.device("cpu")).deployed().eval()
    programs, golden = make_programs(deployed, golden_inputs(checkpoint), form)
    band = demonstrated_band(checkpoint, deployed)
    info = replace(bundle_info(checkpoint, source), q_band=band)
    return write_bundle(out, info, programs, golden, overwrite=overwrite)


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

    image = torch.from_numpy(inputs["resized"])
    proprio = torch.from_numpy(inputs["proprio"])
    task = torch.from_numpy(inputs["task"])
    with torch.inference_mode():
        action, _ = deployed.act(image, proprio, task)
        q = deployed.q(image, proprio, task, _next_of(action))
    golden = {**inputs, "action": action.numpy(), "q": q.numpy()}
    if form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # until PyTorch drops it
            scripted = torch.jit.script(deployed)
        _check_parity(deployed, scripted.act, scripted.q, golden)
        return {"policy.pt": without_origins(scripted.save_to_buffer())}, golden
    examples = []
    for tensor in (image, proprio, task, _next_of(action)):
        examples.append(torch.zeros(1, *tensor.shape[1:], dtype=tensor.dtype))
    act_program = _trace(deployed, "act", tuple(examples[:3]))
    q_program = _trace(deployed, "q", tuple(examples))
    _check_parity(deployed, act_program.module(), q_program.module(), golden)
    return {"act.pt2": _save(act_program), "q.pt2": _save(q_program)}, golden


def _trace(
    deployed: InferencePolicy, method: str, arguments: tuple[Tensor, ...]
) -> ExportedProgram:
    """Return a method as a graph of core ATen operators for one image.

    Args:
        deployed: The module that has the method.
        method: Its name.
        arguments: Examples of its arguments, each of batch size 1.

    Returns:
        The program, with only the weights that it uses.
    """
    import torch

    module = copy.copy(deployed)
    module.forward = getattr(module, method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about itself
        program = torch.export.export(module, arguments).run_decompositions()
    _clean_graph(program)
    _drop_unused_weights(program)
    program.graph_module.recompile()
    program.validate()
    return program


def _clean_graph(program: ExportedProgram) -> None:
    """Remove assertions, dead code and the paths of this computer's files."""
    for node in reversed(program.graph.nodes):
        if node.op == "call_function" and "_assert_" in str(node.target):
            # `Policy` checks the inputs, and assertions are no core operators
            program.graph.erase_node(node)
        # the other entries hold the paths
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    program.graph.eliminate_dead_code()


def _drop_unused_weights(program: ExportedProgram) -> None:
    """Remove the inputs and weights that no operator of the graph uses."""
    unused = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and not node.users:
            unused[node.name] = node
    for spec in list(program.graph_signature.input_specs):
        if spec.target in program.state_dict and spec.arg.name in unused:
            program.graph.erase_node(unused[spec.arg.name])
            program.graph_signature.input_specs.remove(spec)
            del program.state_dict[spec.target]


def _save(program: ExportedProgram) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _check_parity(
    deployed: InferencePolicy, act: Any, q: Any, golden: dict[str, np.ndarray]
) -> None:
    """Compare programs with the golden outputs, given one image at a time.

    Args:
        deployed: The agent's module, for the range of its actions.
        act: Program of the action.
        q: Program of Q.
        golden: Inputs and expected outputs.

    Raises:
        TrainingError: If they differ by more than `PARITY` or `PARITY_Q`.
    """
    import torch

    action_range = (deployed.high - deployed.low).numpy()
    worst, worst_q = 0.0, 0.0
    for index in range(len(golden["image"])):
        row = {name: values[index : index + 1] for name, values in golden.items()}
        inputs = [torch.from_numpy(row[name]) for name in ("resized", "proprio", "task")]
        with torch.inference_mode():
            action, _ = act(*inputs)
            q_values = q(*inputs, _next_of(action)).numpy()
        difference = np.abs(action.numpy() - row["action"]) / action_range
        worst = np.maximum(worst, difference.max())
        worst_q = np.maximum(worst_q, _relative_difference(q_values, row["q"]).max())
    if not (worst <= PARITY and worst_q <= PARITY_Q):  # also refuses NaN
        raise TrainingError(
            f"the exported policy differs from the agent: action {worst:.2g} > {PARITY} "
            f"or Q {worst_q:.2g} > {PARITY_Q}"
        )


def _next_of(actions: Tensor) -> Tensor:
    """Return the next action (B, 7) of a policy's output, (B, 7) or (B, E, 7)."""
    return actions if actions.dim() == 2 else actions[:, 0]


def _relative_difference(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return |values - expected|, relative where |expected| > 1; 0 where both are NaN."""
    both_nan = np.isnan(values) & np.isnan(expected)
    difference = np.where(both_nan, 0.0, np.abs(values - expected))
    return difference / np.maximum(1.0, np.abs(np.nan_to_num(expected)))


def bundle_info(checkpoint: Checkpoint, source: Path) -> BundleInfo:
    """Return the contents of `bundle.json`."""
    info = checkpoint.info
    return BundleInfo(
        agent=checkpoint.config.agent_name,
        camera=CameraSpec(info.camera, info.camera_width, info.camera_height),
        image_height=info.image_height,
        image_width=info.image_width,
        resize=info.resize,
        rate=info.rate,
        tasks=tuple(checkpoint.task_ids.names),
        command=info.command,
        data=portable(checkpoint.data),
        checkpoint={
            "path": portable_path(source),
            "step": checkpoint.step,
            "agent_steps": checkpoint.agent["steps"],
            "gripper": "binary" if checkpoint.data_spec.binary_gripper else "continuous",
            "act": getattr(checkpoint.config.agent, "act", "mode"),
        },
        code_version=version("ptr_training"),
        action_low=info.action_low,
        action_high=info.action_high,
        draws_gripper=checkpoint.data_spec.binary_gripper
        and getattr(checkpoint.config.agent, "draw_gripper", False),
        history=checkpoint.config.agent.sampling.history,
        execute=checkpoint.config.agent.execute,
        aliases=checkpoint.task_ids.aliases,
    )


def golden_inputs(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Return inputs to compare a bundle with its agent, N images of camera size.

    Half of the images are smooth random ones, which show any change of the resize. The
    others are frames of the demonstrations, enlarged to the camera's size, if their store
    is at hand.

    Returns:
        `image` (N, H, W, 3) uint8 of camera size, `proprio` (N, 7), `task` (N,), and
        `resized` (N, h, w, 3), the network's input. An agent of history K has `proprio`
        (N, K, 7) and `resized` (N, K, h, w, 3), windows that end with their image.
    """
    info, data_spec = checkpoint.info, checkpoint.data_spec
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (N_SMOOTH, 24, 32, 3), np.uint8)
    camera_size = (info.camera_width, info.camera_height)
    network_size = (data_spec.height, data_spec.width)
    images, resized = [], []
    for frame in [*noise, *_real_frames(checkpoint)]:
        image = cv2.resize(frame, camera_size, interpolation=cv2.INTER_LINEAR)
        images.append(image)
        resized.append(resize_area(image, network_size))
    count = len(images)
    spread = rng.standard_normal((count, 7)) * np.array(data_spec.proprio_std)
    inputs = {
        "image": np.stack(images),
        "proprio": (np.array(data_spec.proprio_mean) + spread).astype(np.float32),
        "task": np.arange(count)[::-1] % len(checkpoint.task_ids.names),
        "resized": np.stack(resized),
    }
    history = checkpoint.config.agent.sampling.history
    if history > 1:
        window = (np.arange(count)[:, None] + np.arange(1 - history, 1)) % count
        inputs["proprio"] = inputs["proprio"][window]
        inputs["resized"] = inputs["resized"][window]
    return inputs


def _real_frames(checkpoint: Checkpoint) -> list[np.ndarray]:
    """Return frames of the training data, each (h, w, 3), evenly spread over the store.

    Returns:
        `N_REAL` frames; none if the store is not on this computer.
    """
    source = checkpoint.data["target"] or checkpoint.data["prior"][0]
    try:
        store = EpisodeStore.open(source["path"])
    except StoreError:  # trained on another computer
        return []
    rows = store.rows
    indices = np.linspace(0, len(rows) - 1, N_REAL).astype(int)
    return [np.array(store.frames[rows[index]]) for index in indices]
