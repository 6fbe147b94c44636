"""Backends that run the programs of a bundle; `BACKENDS` lists them."""

from __future__ import annotations

import importlib
import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from . import aot_cache
from .bundle import PRECISIONS, Bundle, BundleError
from .exported_programs import as_module, read_programs
from .scripted_program import check_archive

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

PARAMETERS = "parameters backend and precision of the policy node, config/policy.yaml"
"""Where a user chooses a backend, for error messages."""


class Backend(ABC):
    """Runs the programs of a bundle, with a batch size of 1.

    Attributes:
        form: The form of bundle it runs, see `bundle.FORMS`.
        precisions: The precisions it supports.
        act: (image, proprio, task) to (action, std), as `docs/design.md` describes them.
        q: (image, proprio, task, action) to both Q values, shape (1, 2). It may be called in
            another thread than `act`.
    """

    form: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS
    act: Callable[..., Sequence[Tensor]]
    q: Callable[..., Tensor]

    @abstractmethod
    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        """Load the programs of a bundle whose files have been checked."""


class TorchScript(Backend):
    """A scripted policy, interpreted by PyTorch."""

    form = "torchscript"
    precisions = ("float32",)

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        import torch

        file, content = bundle.path / "policy.pt", bundle.files["policy.pt"]
        try:
            check_archive(content)
            module = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
            for weights in module.parameters():
                if weights.dim() == 4:  # convolutions: a third faster in a ResNet-34
                    weights.data = weights.data.contiguous(
                        memory_format=torch.channels_last
                    )
            module = torch.jit.freeze(module, preserved_attrs=["act", "q"])
        except BundleError as error:
            raise BundleError(f"{file} is refused: {error}") from error
        except Exception as error:  # PyTorch raises many kinds for a damaged file
            reason = str(error).partition("\n")[0]
            raise BundleError(f"{file} is not a TorchScript policy: {reason}") from error
        self.act, self.q = module.act, module.q


class Exported(Backend):
    """Exported programs, run by PyTorch operator by operator."""

    form = "export"

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        self.act, self.q = (
            as_module(program, precision) for program in read_programs(bundle)
        )


class Compiled(Backend):
    """Exported programs that `ptr compile` has compiled for this machine."""

    form = "export"

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        import torch

        def run(runner: Any, inputs: tuple[Tensor, ...]) -> list[Tensor]:
            """Run a library in the calling thread."""
            torch.set_num_threads(
                threads
            )  # OpenMP keeps one number for each calling thread
            outputs: list[Tensor] = runner.run(list(inputs))
            return outputs

        act, q = aot_cache.load(bundle, precision)
        self.act = lambda *inputs: run(act, inputs)
        self.q = lambda *inputs: run(q, inputs)[0]


class OpenVino(Backend):
    """Exported programs, run by OpenVINO; converting them takes some seconds at load time."""

    form = "export"

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        # Without this, OpenVINO would report each use to its maker.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            openvino = importlib.import_module("openvino")
        except ImportError as error:
            raise BundleError(
                f"OpenVINO is not installed here: pip install openvino ({error})"
            ) from error
        options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }

        def load(program: ExportedProgram) -> Any:
            """Return a request that runs a program."""
            model = openvino.convert_model(program)
            compiled = openvino.Core().compile_model(model, "CPU", options)
            return compiled.create_infer_request()

        act, q = (load(program) for program in read_programs(bundle))
        self.act = lambda *inputs: self._run(act, inputs)
        self.q = lambda *inputs: self._run(q, inputs)[0]

    @staticmethod
    def _run(request: Any, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        import torch

        needed: set[str] = set()  # OpenVINO drops inputs on which no output depends
        for model_input in request.model_inputs:
            needed |= model_input.names
        arrays = {}
        for name, value in zip(
            ("image", "proprio", "task", "action"), inputs, strict=False
        ):
            if name in needed:
                arrays[name] = value.numpy()
        results = request.infer(arrays)
        return [
            torch.from_numpy(results[output].copy()) for output in request.model_outputs
        ]


BACKENDS: dict[str, type[Backend]] = {
    "torchscript": TorchScript,
    "export": Exported,
    "aot": Compiled,
    "openvino": OpenVino,
}


def open_backend(
    name: str, bundle: Bundle, precision: str, threads: int
) -> tuple[str, Backend]:
    """Return the name of a backend, and the backend after it has loaded a bundle.

    Args:
        name: One of `BACKENDS`, or `auto`: `aot` if the bundle has been compiled for this
            machine, otherwise the backend that needs only PyTorch.
        bundle: A bundle whose files have been checked.
        precision: One of `bundle.PRECISIONS`.
        threads: CPU threads.

    Raises:
        BundleError: If there is no such backend, it cannot run this bundle, or this machine
            lacks something that it needs.
    """
    import torch

    torch.set_num_threads(threads)
    if name == "auto":
        name = "aot" if aot_cache.exists(bundle, precision) else bundle.form
    if name not in BACKENDS:
        raise BundleError(
            f"backend is {name!r}; it must be one of auto, {', '.join(BACKENDS)} ({PARAMETERS})"
        )
    backend = BACKENDS[name]
    _check_fit(name, backend, bundle, precision)
    return name, backend(bundle, precision, threads)


def _check_fit(name: str, backend: type[Backend], bundle: Bundle, precision: str) -> None:
    """Check that a backend runs a bundle of this form in this precision on this CPU."""
    if backend.form != bundle.form:
        fitting = [other for other, kind in BACKENDS.items() if kind.form == bundle.form]
        raise BundleError(
            f"{bundle.path}: backend {name!r} runs bundles of the form {backend.form!r}, "
            f"this one is {bundle.form!r}: choose {', '.join(fitting)} ({PARAMETERS}), "
            f"or make the bundle again with `ptr bundle --format {backend.form}`"
        )
    if precision not in backend.precisions:
        allowed = " or ".join(backend.precisions)
        raise BundleError(
            f"precision is {precision!r}; {name} runs in {allowed} ({PARAMETERS})"
        )
    if precision == "bfloat16" and not _has_bfloat16():
        raise BundleError(
            "precision is 'bfloat16', which this CPU has no arithmetic for; "
            f"use float32 ({PARAMETERS})"
        )


def _has_bfloat16() -> bool:
    import torch

    capabilities = torch.cpu.get_capabilities()
    return any(capabilities[name] for name in capabilities if name.endswith("bf16"))
