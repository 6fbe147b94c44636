"""How an update runs: as it is, with compiled encoders, or captured as a CUDA graph and replayed.

An update of PTR launches thousands of small kernels, and a GPU waits for the launches. A CUDA
graph records them once and starts them all at once afterwards. What a replay cannot do stays
outside of it: the batch is copied into tensors that the graph reads, learning rates are tensors
on the device, and the host counts the steps. `Agent.learn` is what is captured, and
`Agent.phase` says when it has to be captured anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from ptr_training.agents import Agent, Metrics
from ptr_training.data.batch import Batch
from ptr_training.errors import TrainingError

Update = Callable[[Batch], Metrics]
"""Takes one gradient step on a batch and returns what to log."""

T = TypeVar("T")

WARM_UPS = 3
"""Steps of a phase before it is captured: optimisers and libraries allocate in the first ones."""


def make_update(agent: Agent, mode: str) -> Update:
    """Return the function that takes an agent's gradient steps.

    Args:
        agent: On its device, its state loaded.
        mode: `accelerate` of the training configuration: auto (graph on one GPU, else off),
            graph, compile or off.

    Raises:
        TrainingError: If a graph is asked for where there can be none.
    """
    device, processes = agent.active.device, agent.rng.context.size
    can_capture = device.type == "cuda" and processes == 1
    if mode == "graph" and not can_capture:
        raise TrainingError(
            f"accelerate is graph, on {device} with {processes} processes; a graph needs one "
            "process on a CUDA GPU: set accelerate to auto, compile or off"
        )
    if mode == "auto":
        mode = "graph" if can_capture else "off"
    if mode != "off" and _can_compile(device):
        agent.compile_encoders()
        if device.type == "cuda":  # a CPU makes one change of colour, a GPU all of them
            agent.augmentation.compile()
    if mode != "graph":
        return agent.update
    return CapturedUpdate(agent, CudaGraph(device, agent.rng.generator))


class CapturedUpdate:
    """Updates that are replayed from a graph, once a few steps of their phase have run.

    Args:
        agent: What learns; its optimisers are changed so that a graph can hold their step.
        graph: Holds the captured update.
    """

    def __init__(self, agent: Agent, graph: CudaGraph) -> None:
        agent.make_capturable()
        self._agent = agent
        self._graph = graph
        self._inputs: Batch | None = None  # what the graph reads
        self._phase = agent.phase
        self._warm_ups = 0
        self._names: list[str] = []  # of the metrics
        self._values: Tensor | None = (
            None  # what the graph writes; None: nothing is captured
        )
        self._gave_up = False

    def __call__(self, batch: Batch) -> Metrics:
        """Take one gradient step and return what to log."""
        agent = self._agent
        agent.begin_step()
        if agent.phase != self._phase:
            self._graph.release()
            self._phase, self._warm_ups, self._values = agent.phase, 0, None
        metrics = agent.learn(batch) if self._gave_up else self._learn(batch)
        agent.end_step()
        return metrics

    def _learn(self, batch: Batch) -> Metrics:
        if self._inputs is None:
            self._inputs = batch.clone()
        else:
            self._inputs.copy_(batch)
        learn = partial(self._agent.learn, self._inputs)
        if self._warm_ups < WARM_UPS:
            self._warm_ups += 1
            return self._graph.warm_up(learn)
        if self._values is None:
            draws = self._agent.rng.state()
            try:
                self._values = self._graph.capture(partial(self._packed, learn))
            except RuntimeError as error:
                self._give_up(error, draws)
                return learn()
        self._graph.replay()
        values = self._values.clone().unbind()  # the next replay overwrites them
        return dict(zip(self._names, values, strict=True))

    def _packed(self, learn: Callable[[], Metrics]) -> Tensor:
        """Return the metrics as one tensor and keep their names."""
        metrics = learn()
        self._names = list(metrics)
        return torch.stack([value.float() for value in metrics.values()])

    def _give_up(self, error: RuntimeError, draws: list[Tensor]) -> None:
        """Go on without a graph after a capture that failed; nothing of it has been done.

        Args:
            error: Why it failed.
            draws: State of the agent's random numbers before the capture.
        """
        self._gave_up = True
        self._graph.release()
        # a generator stays in the state of being captured; gradients lie in the graph's memory
        self._agent.rng.replace_generator(draws)
        self._agent.zero_grad(set_to_none=True)
        _say(
            f"the update cannot be captured as a CUDA graph ({_reason(error)}); it runs without"
        )


class CudaGraph:
    """A graph on a GPU: the calls of PyTorch and nothing else.

    Args:
        device: The GPU.
        generator: Source of the random numbers of what is captured.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self._device = device
        self._generator = generator
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def warm_up(self, work: Callable[[], T]) -> T:
        """Do some work on the stream that is captured later, and return its result."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = work()
        here.wait_stream(self._stream)
        return result

    def capture(self, work: Callable[[], T]) -> T:
        """Record some work without doing it; `replay` writes into the tensors of its result.

        Raises:
            RuntimeError: If it cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        # a thread that fetches batches may allocate meanwhile
        mode = "thread_local"
        here = torch.cuda.current_stream(self._device)
        with (
            torch.cuda.device(self._device),
            torch.cuda.stream(here),  # current again also after a capture that fails
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode),
        ):
            result = work()
        self._graph = graph
        return result

    def replay(self) -> None:
        """Do the captured work."""
        assert self._graph is not None
        self._graph.replay()

    def release(self) -> None:
        """Free the memory of what is captured."""
        self._graph = None


def _can_compile(device: torch.device) -> bool:
    """Return whether torch.compile works here, and say so if it does not."""
    try:
        torch.compile(lambda x: (x + 1.0).relu())(torch.zeros(8, device=device))
    except Exception as error:  # it wants a compiler, Triton, folders to write to …
        _say(f"torch.compile does not work here ({_reason(error)}); nothing is compiled")
        return False
    return True


def _reason(error: Exception) -> str:
    """Return the first line of the first of chained errors that says something, or its kind."""
    while isinstance(error.__context__, Exception):
        error = error.__context__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
