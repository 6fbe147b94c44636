"""Exported programs (`act.pt2` and `q.pt2` of a bundle): checks an archive, then loads it.

`torch.export.load` trusts its file. In PyTorch 2.13 it unpickles weights, constants and
sample inputs without limits where the archive asks for it, evaluates symbolic sizes as
Python, resolves operators by any name below `torch`, and opens native libraries in the
archive. Therefore an archive is checked first, with the same reader and on the same bytes. It
may hold plain tensors, fixed sizes, and operators that PyTorch tags as core ATen, none of
which touches files.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .bundle import Bundle, BundleError
from .torch_archive import check_records

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

Signature = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and type of each input of a program, by name."""

ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|"
    r"models/model\.json|"
    r"data/(weights/(weight_\d+|model_weights_config\.json)|sample_inputs/model\.pt|"
    r"constants/(tensor_\d+|model_constants_config\.json))"
)
"""Names of the files that an archive may hold."""

CONFIGS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
"""Files that name the tensors of an archive."""

PLAIN_TENSOR = re.compile(r"(weight|tensor)_\d+")
"""Names of the files of tensors that are not pickled."""

ARGUMENTS = (
    "as_tensor",
    "as_tensors",
    "as_none",
    "as_int",
    "as_ints",
    "as_float",
    "as_floats",
    "as_bool",
    "as_bools",
    "as_string",
    "as_scalar_type",
    "as_memory_format",
    "as_layout",
    "as_device",
)
"""Kinds of arguments that an operator may have."""

EMPTY = (
    "guards_code",
    "range_constraints",
    "sym_int_values",
    "sym_float_values",
    "sym_bool_values",
    "custom_obj_values",
    "treespec_namedtuple_fields",
    "metadata",
)
"""Parts of a graph for symbolic sizes, other objects and origins of nodes; they must be empty."""

CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
"""Containers of inputs and outputs."""


def read_programs(bundle: Bundle) -> tuple[ExportedProgram, ExportedProgram]:
    """Return `act` and `q` of a bundle after checking their archives.

    Raises:
        BundleError: If an archive is damaged, holds anything but a program of the kind
            described above, or the program's inputs differ from the bundle's description. A
            compiled program would not notice wrong inputs.
    """
    if bundle.form != "export":
        raise BundleError(
            f"{bundle.path} holds no exported programs; make it with `ptr bundle --format export`"
        )
    info = bundle.info
    image = (1, *info.window, info.image_height, info.image_width, 3)
    act_inputs = {
        "image": (image, "uint8"),
        "proprio": ((1, *info.window, 7), "float32"),
        "task": ((1,), "int64"),
    }
    q_inputs = {**act_inputs, "action": ((1, 7), "float32")}
    return _read(bundle, "act.pt2", act_inputs), _read(bundle, "q.pt2", q_inputs)


def _read(bundle: Bundle, name: str, expected: Signature) -> ExportedProgram:
    """Return one program of a bundle after checking its archive and its inputs."""
    # torch.export.load would take older archives as well, which are not checked.
    from torch.export.pt2_archive._package import load_pt2

    file = bundle.path / name
    content = bundle.files[name]
    try:
        _check_archive(content)
        program = load_pt2(io.BytesIO(content)).exported_programs["model"]
        found = _signature(program)
    except BundleError as error:
        raise BundleError(f"{file} is refused: {error}") from error
    except Exception as error:  # PyTorch raises many kinds for a damaged file
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{file} is not an exported policy: {reason}") from error
    if found != expected:
        raise BundleError(f"{file} takes {found}, expected {expected}")
    return program


def _signature(program: ExportedProgram) -> Signature:
    """Return shape and type of each input of a program."""
    signature = {}
    for name, value in _inputs(program):
        kind = str(value.dtype).removeprefix("torch.")
        signature[name] = (tuple(value.shape), kind)
    return signature


def _inputs(program: ExportedProgram) -> list[tuple[str, Any]]:
    """Return name and tensor without data of each input."""
    values = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node.name] = node.meta["val"]
    return [(str(name), values[name]) for name in program.graph_signature.user_inputs]


def example_inputs(program: ExportedProgram) -> tuple[Any, ...]:
    """Return zeros of the shapes and types of a program's inputs."""
    import torch

    zeros = []
    for _, value in _inputs(program):
        zeros.append(torch.zeros(value.shape, dtype=value.dtype))
    return tuple(zeros)


def _check_archive(content: bytes) -> None:
    """Check that `torch.export.load` can only read tensors and a graph from an archive.

    Raises:
        BundleError: If the archive holds anything that it might unpickle, evaluate or open.
    """
    import torch
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with PT2ArchiveReader(io.BytesIO(content)) as reader:
        check_records(reader.archive_file, ENTRY, len(content))
        for config in CONFIGS:
            _check_tensors(json.loads(reader.read_bytes(config))["config"])
        if inputs := reader.read_bytes("data/sample_inputs/model.pt"):
            # Where this fails, the loader would try again without weights_only.
            torch.load(io.BytesIO(inputs), weights_only=True)
        _check_model(json.loads(reader.read_bytes("models/model.json")))


def _check_tensors(config: Mapping[str, Any]) -> None:
    """Check that every tensor of an archive is stored without pickle."""
    for name, tensor in config.items():
        is_plain = PLAIN_TENSOR.fullmatch(tensor["path_name"])
        if tensor["use_pickle"] is not False or not is_plain:
            raise BundleError(f"{name!r} is not a plain tensor")


def _check_model(model: Mapping[str, Any]) -> None:
    """Check the operators, arguments and containers of a serialised graph."""
    for key, value in _items(model):
        if key == "target":
            _check_operator(value)
        elif (key in EMPTY and value) or (key.startswith("as_") and key not in ARGUMENTS):
            raise BundleError(f"the graph has {key} {str(value)[:80]}")
        elif key in ("in_spec", "out_spec"):
            _check_containers(json.loads(value))


def _check_containers(spec: Any) -> None:
    """Check that inputs and outputs are passed in plain containers."""
    for key, kind in _items(spec):
        if key == "type" and kind not in CONTAINERS:
            raise BundleError(f"the graph passes a {kind!r}")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of nested JSON."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _items(item)


def _check_operator(target: str) -> None:
    import torch

    name = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    operator = name and getattr(getattr(torch.ops.aten, name[1], None), name[2], None)
    if isinstance(operator, torch._ops.OpOverload) and torch.Tag.core in operator.tags:
        return
    raise BundleError(f"{target!r} is not a core ATen operator")


def as_module(program: ExportedProgram, precision: str) -> GraphModule:
    """Return a program as a module to call.

    With `bfloat16`, only its convolutions run in that type, which are nearly all of the work of
    a ResNet. The others stay in `float32`, so that poses and Q values keep their digits.

    Args:
        program: From `read_programs`; it shares its weights with the result.
        precision: `float32` or `bfloat16`.
    """
    import torch

    module = program.module()
    convolution = torch.ops.aten.convolution.default
    for node in module.graph.find_nodes(op="call_function", target=convolution):
        for index, argument in enumerate(node.args[:3]):  # image, weights, bias
            if argument is None:
                continue
            if _is_weight_of(argument, convolution):
                _convert(attrgetter(argument.target)(module), precision)
            elif precision != "float32":
                with module.graph.inserting_before(node):
                    node.update_arg(index, _to(argument, precision))
        if precision != "float32":
            with module.graph.inserting_after(node):
                result = _to(node, "float32")
            node.replace_all_uses_with(
                result, delete_user_cb=lambda user, result=result: user is not result
            )
    module.recompile()
    return module


def _is_weight_of(argument: Node, operator: Any) -> bool:
    """Return whether an argument is a stored tensor that only this operator uses."""
    if argument.op != "get_attr":
        return False
    return all(user.target is operator for user in argument.users)


def _convert(weights: Tensor, precision: str) -> None:
    """Store weights in a precision, and those of convolutions in the faster memory layout."""
    import torch

    if weights.dim() == 4:  # a third faster in a ResNet-34, with the same results
        weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    weights.data = weights.data.to(getattr(torch, precision))


def _to(node: Node, precision: str) -> Node:
    """Return a new node that converts the result of a node to a precision."""
    import torch

    return node.graph.call_function(
        torch.ops.aten._to_copy.default, (node,), {"dtype": getattr(torch, precision)}
    )
