"""Stands in for a CUDA graph on a CPU: records what an update does to tensors and repeats it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ptr_training.agents import Agent


class Recorder(TorchDispatchMode):
    """Keeps every operation with the very tensors that it read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, result))
        return result

    @property
    def names(self) -> set[str]:
        return {str(operation) for operation, *_ in self.operations}

    def repeat(self) -> None:
        """Do all operations again on the same memory; no Python of the update runs."""
        with torch.no_grad():
            for operation, args, kwargs, result in self.operations:
                again = operation(*args, **kwargs)
                if any(value.alias_info for value in operation._schema.returns):
                    continue  # a view, or in place
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)


class RecordedGraph:
    """Has the methods of `accelerate.CudaGraph`."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.captures = 0
        self.recorder: Recorder | None = None

    def warm_up(self, work: Callable[[], Any]) -> Any:
        return work()

    def capture(self, work: Callable[[], Any]) -> Any:
        """Record the work, and undo it: a capture does nothing."""
        tensors = list(self.agent.state_dict().values())
        for optimizer in self.agent.optimizers.values():
            for state in optimizer.state.values():
                tensors += state.values()
        before = [tensor.clone() for tensor in tensors]
        draws = self.agent.rng.state()
        with Recorder() as self.recorder:
            result = work()
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
        self.agent.rng.set_state(draws)
        self.captures += 1
        return result

    def replay(self) -> None:
        assert self.recorder
        self.recorder.repeat()

    def release(self) -> None:
        self.recorder = None
