"""What takes a GPU's memory, for the message of a run that has none left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ptr_training.data.replay import Replay
from ptr_training.errors import TrainingError

from .build import build_agent
from .checkpoint import Checkpoint

GIB = 2.0**30


@contextlib.contextmanager
def explained_memory(
    start: Checkpoint, replay: Replay, device: torch.device
) -> Iterator[None]:
    """Say what takes the memory, if it runs out in the block.

    Args:
        start: The checkpoint that training continues from.
        replay: The data.
        device: Where the agent learns.

    Raises:
        TrainingError: In place of PyTorch's error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(_explanation(start, replay, device)) from error


def _explanation(start: Checkpoint, replay: Replay, device: torch.device) -> str:
    """Return what takes how much, the setting of each, and which one to lower."""
    config, spec = start.config, start.data_spec
    agent = build_agent(config, spec, torch.device("cpu"))  # to count, where memory is left
    learnt: dict[int, Tensor] = {}
    for optimizer in agent.optimizers.values():
        for group in optimizer.param_groups:
            learnt |= {id(weights): weights for weights in group["params"]}
    network = _size(agent.state_dict().values())
    optimizers = 3 * _size(learnt.values())  # gradients, and two means of Adam's
    frames = replay.bytes if replay.resident or config.replay == "device" else 0
    images = config.batch_size * replay.sampling.history
    images *= 1 + replay.sampling.next_observations
    pixels = images * spec.height * spec.width * 3 * 5  # as bytes and as float32
    listed = network + optimizers + frames + pixels
    used = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    lower = [f"--set batch_size={max(1, config.batch_size // 2)}"]
    if frames:  # the larger share first
        lower.insert(0 if frames > used - frames else 1, "--set replay=mapped")
    kept = f" ({_gib(used - listed)})" if used > listed else ""
    return (
        f"{device} has no memory left{_total(device)}: "
        f"frames {_gib(frames)} (replay={config.replay}), "
        f"network {_gib(network)}, its gradients and optimisers {_gib(optimizers)} "
        f"(network.encoder={config.network.encoder}), "
        f"{images} images of {spec.width}x{spec.height} {_gib(pixels)} "
        f"(batch_size={config.batch_size}); the rest{kept} is what the encoders keep of each "
        f"image until the backward pass. Lower it with {', then '.join(lower)}, a smaller "
        "network.encoder, or a store made with a smaller --image-size"
    )


def _total(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f" ({_gib(total)}, {_gib(free)} of it free)"


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _gib(count: float) -> str:
    return f"{count / GIB:.3g} GiB"
