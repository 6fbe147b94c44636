"""Exported programs (`torch.export`, `act.pt2` and `q.pt2` of a bundle): what may be in one, and what to call.

`torch.export.load` trusts its file. In PyTorch 2.13 it unpickles weights, constants and sample inputs without limits
where the archive asks for it, evaluates symbolic sizes as Python, resolves operators by any name below `torch`, and
opens native libraries that lie in the archive. So an archive is checked first, with the same reader and on the same
bytes: plain tensors, fixed sizes, and operators that PyTorch tags as core ATen, none of which touches files.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .bundle import Bundle, BundleError

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json|"
    r"data/(weights/(weight_\d+|model_weights_config\.json)|sample_inputs/model\.pt|"
    r"constants/(tensor_\d+|model_constants_config\.json))"
)
ARGUMENTS = (
    *("as_tensor", "as_tensors", "as_none", "as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools"),
    *("as_string", "as_scalar_type", "as_memory_format", "as_layout", "as_device"),
)
EMPTY = (
    *("guards_code", "range_constraints", "sym_int_values", "sym_float_values", "sym_bool_values"),
    *("custom_obj_values", "treespec_namedtuple_fields", "metadata"),
)
CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")  # of inputs and outputs


def read_programs(bundle: Bundle) -> tuple[ExportedProgram, ExportedProgram]:
    """Return `act` and `q` of a bundle, once their archives are known to hold nothing else.

    Raises:
        BundleError: If an archive is damaged, holds anything but a program of the kind described above, or the program
            does not take what the bundle says; a compiled one would not notice.
    """
    if bundle.form != "export":
        raise BundleError(f"{bundle.path} holds no exported programs; make it with `ptr bundle --format export`")
    image = ((1, bundle.info.image_height, bundle.info.image_width, 3), "uint8")
    inputs = {"image": image, "proprio": ((1, 7), "float32"), "task": ((1,), "int64")}
    act = _read(bundle, "act.pt2", inputs)
    return act, _read(bundle, "q.pt2", {**inputs, "action": ((1, 7), "float32")})


def _read(bundle: Bundle, name: str, inputs: Mapping[str, tuple[tuple[int, ...], str]]) -> ExportedProgram:
    from torch.export.pt2_archive._package import load_pt2  # torch.export.load also takes older, unchecked archives

    file, content = bundle.path / name, bundle.files[name]
    try:
        _check_archive(content)
        program = load_pt2(io.BytesIO(content)).exported_programs["model"]
        found = {name: (tuple(value.shape), str(value.dtype)[len("torch.") :]) for name, value in _inputs(program)}
    except BundleError as error:
        raise BundleError(f"{file} is refused: {error}") from error
    except Exception as error:  # whatever the parts of PyTorch say of a damaged file
        raise BundleError(f"{file} is not an exported policy: {str(error).partition(chr(10))[0]}") from error
    if found != inputs:
        raise BundleError(f"{file} takes {found}, expected {inputs}")
    return program


def _inputs(program: ExportedProgram) -> list[tuple[str, Any]]:
    """Return name and tensor without data of each input."""
    user = program.graph_signature.user_inputs
    nodes = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [(str(name), nodes[name]) for name in user]


def example_inputs(program: ExportedProgram) -> tuple[Any, ...]:
    """Return zeros that fit a program."""
    import torch

    return tuple(torch.zeros(value.shape, dtype=value.dtype) for _, value in _inputs(program))


def _check_archive(content: bytes) -> None:
    """Raise BundleError if `torch.export.load` might do anything with this archive but read tensors and a graph."""
    import torch
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with PT2ArchiveReader(io.BytesIO(content)) as reader:
        names = reader.get_file_names()
        for name in names:
            if not ENTRY.fullmatch(name) or names.count(name) > 1:
                raise BundleError(f"the archive holds {name!r}")
        for config in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
            for name, tensor in json.loads(reader.read_bytes(config))["config"].items():
                if tensor["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", tensor["path_name"]):
                    raise BundleError(f"{name!r} is not a plain tensor")
        if inputs := reader.read_bytes("data/sample_inputs/model.pt"):
            torch.load(io.BytesIO(inputs), weights_only=True)  # where this fails, the loader would try without
        _check_model(json.loads(reader.read_bytes("models/model.json")))


def _check_model(model: Mapping[str, Any]) -> None:
    for key, value in _items(model):
        if key == "target":
            _check_operator(value)
        elif (key in EMPTY and value) or (key.startswith("as_") and key not in ARGUMENTS):
            raise BundleError(f"the graph has {key} {str(value)[:80]}")
        elif key in ("in_spec", "out_spec"):
            for part, kind in _items(json.loads(value)):
                if part == "type" and kind not in CONTAINERS:
                    raise BundleError(f"the graph passes a {kind!r}")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of nested JSON."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _items(each)


def _check_operator(target: str) -> None:
    import torch

    name = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    operator = name and getattr(getattr(torch.ops.aten, name[1], None), name[2], None)
    if not isinstance(operator, torch._ops.OpOverload) or torch.Tag.core not in operator.tags:
        raise BundleError(f"{target!r} is not a core ATen operator")


def as_module(program: ExportedProgram, precision: str) -> GraphModule:
    """Return a program as a module to call.

    At `bfloat16` its convolutions, nearly all of the work of a ResNet, run in that type; everything else stays in
    `float32`, so that poses and Q values keep their digits.

    Args:
        program: From `read_program`; it shares its weights with the result.
        precision: `float32` or `bfloat16`.
    """
    import torch

    module = program.module()
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten.convolution.default:
            for weights in (node.args[1], node.args[2]):
                if weights is not None:
                    _convert(module.get_parameter(weights.target), precision)
            if precision != "float32":
                _run_in(node, getattr(torch, precision))
    module.recompile()
    return module


def _convert(weights: Any, precision: str) -> None:
    import torch

    if weights.dim() == 4:  # a third faster in a ResNet-34, with the same results
        weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    weights.data = weights.data.to(getattr(torch, precision))


def _run_in(convolution: Node, dtype: Any) -> None:
    """Surround a convolution with conversions of its picture and of its result."""
    import torch

    to, graph = torch.ops.aten._to_copy.default, convolution.graph
    with graph.inserting_before(convolution):
        picture = graph.call_function(to, (convolution.args[0],), {"dtype": dtype})
    convolution.update_arg(0, picture)
    with graph.inserting_after(convolution):
        result = graph.call_function(to, (convolution,), {"dtype": torch.float32})
    convolution.replace_all_uses_with(result, delete_user_cb=lambda user: user is not result)
