"""Exported programs (`torch.export`, `act.pt2` and `q.pt2` of a bundle): what may be in one, and what to call.

`torch.export.load` trusts its file. In PyTorch 2.13 it unpickles weights, constants and
sample inputs without limits where the archive asks for it, evaluates symbolic sizes as
Python, resolves operators by any name below `torch`, and opens native libraries that lie in
the archive. So an archive is checked first, with the same reader and on the same
bytes: plain tensors, fixed sizes, and operators that PyTorch tags as core ATen, none of
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

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json|"
    r"data/(weights/(weight_\d+|model_weights_config\.json)|sample_inputs/model\.pt|"
    r"constants/(tensor_\d+|model_constants_config\.json))"
)
# What an operator may be given.
ARGUMENTS = (
    *(
        "as_tensor",
        "as_tensors",
        "as_none",
        "as_int",
        "as_ints",
        "as_float",
        "as_floats",
        "as_bool",
        "as_bools",
    ),
    *("as_string", "as_scalar_type", "as_memory_format", "as_layout", "as_device"),
)
# What symbolic sizes, objects of other classes and notes of where a node comes from would
# be in.
EMPTY = (
    *(
        "guards_code",
        "range_constraints",
        "sym_int_values",
        "sym_float_values",
        "sym_bool_values",
    ),
    *("custom_obj_values", "treespec_namedtuple_fields", "metadata"),
)
CONTAINERS = (
    None,
    "builtins.tuple",
    "builtins.list",
    "builtins.dict",
)  # of inputs and outputs


def read_programs(bundle: Bundle) -> tuple[ExportedProgram, ExportedProgram]:
    """Return `act` and `q` of a bundle, once their archives are known to hold nothing else.

    Raises:
        BundleError: If an archive is damaged, holds anything but a program of the kind
            described above, or the program does not take what the bundle says; a compiled
            one would not notice.
    """
    if bundle.form != "export":
        raise BundleError(
            f"{bundle.path} holds no exported programs; make it with `ptr bundle --format export`"
        )
    info = bundle.info
    image = ((1, *info.window, info.image_height, info.image_width, 3), "uint8")
    inputs = {
        "image": image,
        "proprio": ((1, *info.window, 7), "float32"),
        "task": ((1,), "int64"),
    }
    act = _read(bundle, "act.pt2", inputs)
    return act, _read(bundle, "q.pt2", {**inputs, "action": ((1, 7), "float32")})


def _read(
    bundle: Bundle, name: str, inputs: Mapping[str, tuple[tuple[int, ...], str]]
) -> ExportedProgram:
    from torch.export.pt2_archive._package import (
        load_pt2,
    )  # torch.export.load also takes older, unchecked archives

    file, content = bundle.path / name, bundle.files[name]
    try:
        _check_archive(content)
        program = load_pt2(io.BytesIO(content)).exported_programs["model"]
        found = {
            name: (tuple(value.shape), str(value.dtype)[len("torch.") :])
            for name, value in _inputs(program)
        }
    except BundleError as error:
        raise BundleError(f"{file} is refused: {error}") from error
    except Exception as error:  # whatever the parts of PyTorch say of a damaged file
        raise BundleError(
            f"{file} is not an exported policy: {str(error).partition(chr(10))[0]}"
        ) from error
    if found != inputs:
        raise BundleError(f"{file} takes {found}, expected {inputs}")
    return program


def _inputs(program: ExportedProgram) -> list[tuple[str, Any]]:
    """Return name and tensor without data of each input."""
    user = program.graph_signature.user_inputs
    nodes = {
        node.name: node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder"
    }
    return [(str(name), nodes[name]) for name in user]


def example_inputs(program: ExportedProgram) -> tuple[Any, ...]:
    """Return zeros that fit a program."""
    import torch

    return tuple(
        torch.zeros(value.shape, dtype=value.dtype) for _, value in _inputs(program)
    )


def _check_archive(content: bytes) -> None:
    """Raise BundleError if `torch.export.load` might do anything with this archive but read tensors and a graph."""
    import torch
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with PT2ArchiveReader(io.BytesIO(content)) as reader:
        names = reader.get_file_names()
        for name in names:
            if not ENTRY.fullmatch(name) or names.count(name) > 1:
                raise BundleError(f"the archive holds {name!r}")
        for config in (
            "data/weights/model_weights_config.json",
            "data/constants/model_constants_config.json",
        ):
            for name, tensor in json.loads(reader.read_bytes(config))["config"].items():
                if tensor["use_pickle"] is not False or not re.fullmatch(
                    r"(weight|tensor)_\d+", tensor["path_name"]
                ):
                    raise BundleError(f"{name!r} is not a plain tensor")
        if inputs := reader.read_bytes("data/sample_inputs/model.pt"):
            torch.load(
                io.BytesIO(inputs), weights_only=True
            )  # where this fails, the loader would try without
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
    if (
        not isinstance(operator, torch._ops.OpOverload)
        or torch.Tag.core not in operator.tags
    ):
        raise BundleError(f"{target!r} is not a core ATen operator")


def as_module(program: ExportedProgram, precision: str) -> GraphModule:
    """Return a program as a module to call.

    At `bfloat16` its convolutions, nearly all of the work of a ResNet, run in that type;
    everything else stays in `float32`, so that poses and Q values keep their digits.

    Args:
        program: From `read_programs`; it shares its weights with the result.
        precision: `float32` or `bfloat16`.
    """
    import torch

    module, convolution = program.module(), torch.ops.aten.convolution.default
    for node in module.graph.find_nodes(op="call_function", target=convolution):
        for index, argument in enumerate(node.args[:3]):  # picture, weights, bias
            if argument is None:
                continue
            if argument.op == "get_attr" and all(
                user.target is convolution for user in argument.users
            ):
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


def _convert(weights: Tensor, precision: str) -> None:
    import torch

    if weights.dim() == 4:  # a third faster in a ResNet-34, with the same results
        weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    weights.data = weights.data.to(getattr(torch, precision))


def _to(node: Node, precision: str) -> Node:
    import torch

    return node.graph.call_function(
        torch.ops.aten._to_copy.default, (node,), {"dtype": getattr(torch, precision)}
    )
