"""The ways to run a bundle; `BACKENDS` is the only list of them.

A backend has `act` and `q` as `docs/design.md` describes them (section "Bundle"), on tensors of batch size 1. Each
of the two may be called from a thread of its own.
"""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from . import compiled
from .bundle import PRECISIONS, Bundle, BundleError
from .programs import as_module, read_programs

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

PARAMETERS = "parameters backend and precision of the policy node, config/policy.yaml"


class Backend(Protocol):
    """Runs a bundle.

    Attributes:
        form: The form of bundle it runs, see `bundle.FORMS`.
        precisions: Those it can run in.
    """

    form: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        """Load the programs of a bundle whose files have been checked."""

    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return action and deviation."""

    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        """Return both Q values."""


class TorchScript:
    """A scripted policy, interpreted by PyTorch."""

    form = "torchscript"
    precisions = ("float32",)

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        import torch

        try:
            module = torch.jit.load(io.BytesIO(bundle.files["policy.pt"]), map_location="cpu").eval()
            for weights in module.parameters():
                if weights.dim() == 4:  # convolutions: a third faster in a ResNet-34, with the same results
                    weights.data = weights.data.contiguous(memory_format=torch.channels_last)
            module = torch.jit.freeze(module, preserved_attrs=["act", "q"])
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{bundle.path / 'policy.pt'} is not a TorchScript policy: {reason}") from error
        self.act, self.q = module.act, module.q


class Exported:
    """Exported programs, run by PyTorch operator by operator."""

    form = "export"
    precisions = PRECISIONS

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        self.act, self.q = (as_module(program, precision) for program in read_programs(bundle))


class Compiled:
    """Exported programs that `ptr compile` has compiled for this machine."""

    form = "export"
    precisions = PRECISIONS

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        import torch

        self._torch, self._threads = torch, threads
        self._act, self._q = compiled.load(bundle, precision)

    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backend`."""
        action, std = self._run(self._act, image, proprio, task)
        return action, std

    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        """See `Backend`."""
        return self._run(self._q, image, proprio, task, action)[0]

    def _run(self, runner: Any, *inputs: Tensor) -> list[Tensor]:
        self._torch.set_num_threads(self._threads)  # OpenMP's number is each thread's own
        outputs: list[Tensor] = runner.run(list(inputs))
        return outputs


class OpenVino:
    """Exported programs, converted when loaded and run by OpenVINO."""

    form = "export"
    precisions = PRECISIONS

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        try:
            openvino = importlib.import_module("openvino")
        except ImportError as error:
            raise BundleError(f"backend is 'openvino', which is not installed here: pip install openvino ({error})")
        options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }

        def load(program: ExportedProgram) -> Any:
            model = openvino.convert_model(program)
            return openvino.Core().compile_model(model, "CPU", options).create_infer_request()

        self._act, self._q = (load(program) for program in read_programs(bundle))

    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backend`."""
        action, std = self._run(self._act, image=image, proprio=proprio, task=task)
        return action, std

    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        """See `Backend`."""
        return self._run(self._q, image=image, proprio=proprio, task=task, action=action)[0]

    def _run(self, request: Any, **inputs: Tensor) -> list[Tensor]:
        import torch

        known = {name for each in request.model_inputs for name in each.names}  # those that no output follows from go
        results = request.infer({name: inputs[name].numpy() for name in inputs.keys() & known})
        return [torch.from_numpy(results[output].copy()) for output in request.model_outputs]


BACKENDS: dict[str, type[Backend]] = {
    "torchscript": TorchScript,
    "export": Exported,
    "aot": Compiled,
    "openvino": OpenVino,
}


def open_backend(name: str, bundle: Bundle, precision: str, threads: int) -> tuple[str, Backend]:
    """Return a backend that has loaded a bundle, and its name.

    Args:
        name: One of `BACKENDS`, or `auto`: `aot` if the bundle has been compiled for this machine, else what needs
            nothing but PyTorch.
        bundle: A bundle whose files have been checked.
        precision: One of `bundle.PRECISIONS`.
        threads: CPU threads.

    Raises:
        BundleError: If there is no such backend, it cannot run this bundle, or this machine lacks what it needs.
    """
    import torch

    torch.set_num_threads(threads)
    if name == "auto":
        name = "aot" if compiled.exists(bundle, precision) else bundle.form
    if name not in BACKENDS:
        raise BundleError(f"backend is {name!r}; it must be one of auto, {', '.join(BACKENDS)} ({PARAMETERS})")
    backend = BACKENDS[name]
    if backend.form != bundle.form:
        fitting = ", ".join(each for each, kind in BACKENDS.items() if kind.form == bundle.form)
        raise BundleError(
            f"{bundle.path}: backend {name!r} runs bundles of the form {backend.form!r}, this one is {bundle.form!r}: "
            f"choose {fitting} ({PARAMETERS}), or make it with `ptr bundle --format {backend.form}`"
        )
    if precision not in backend.precisions:
        raise BundleError(
            f"precision is {precision!r}; {name} runs in {' or '.join(backend.precisions)} ({PARAMETERS})"
        )
    if precision == "bfloat16" and not any(has for name, has in _capabilities().items() if name.endswith("bf16")):
        raise BundleError(f"precision is 'bfloat16', which this CPU has no arithmetic for; use float32 ({PARAMETERS})")
    return name, backend(bundle, precision, threads)


def _capabilities() -> dict[str, Any]:
    import torch

    capabilities: dict[str, Any] = torch.cpu.get_capabilities()
    return capabilities
