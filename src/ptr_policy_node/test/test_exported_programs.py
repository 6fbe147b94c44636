"""Exported programs: what an archive may hold. A refused one would load or run more than that."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_bundle import INFO, Toy, golden, programs, toy_programs

from ptr_policy_node.bundle import BundleError, write_bundle
from ptr_policy_node.policy import load_bundle

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def rewrite(content: bytes, changes: dict[str, bytes | Callable[[Any], None]]) -> bytes:
    """Replace entries of an archive, or change what is in its JSON; new entries are added."""
    source, out = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    root = source.namelist()[0].split("/")[0]
    entries = {name.split("/", 1)[1]: source.read(name) for name in source.namelist()}
    for name, change in changes.items():
        if isinstance(change, bytes):
            entries[name] = change
        else:
            values = json.loads(entries[name])
            change(values)
            entries[name] = json.dumps(values).encode()
    with zipfile.ZipFile(out, "w") as target:
        for name, data in entries.items():
            target.writestr(f"{root}/{name}", data)
    return out.getvalue()


def refused(path: Path, act: bytes, match: str) -> None:
    write_bundle(path, INFO, {**toy_programs("export"), "act.pt2": act}, golden())
    with pytest.raises(BundleError, match=match):
        load_bundle(path, backend="export")


def first_node(model: dict[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = model["graph_module"]["graph"]["nodes"][0]
    return node


def test_rewriting_alone_changes_nothing(tmp_path: Path) -> None:
    act = rewrite(toy_programs("export")["act.pt2"], {})
    write_bundle(
        tmp_path / "bundle", INFO, {**toy_programs("export"), "act.pt2": act}, golden()
    )
    load_bundle(tmp_path / "bundle", backend="export")


def test_no_pickle_is_loaded_without_limits(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    payload = pickle.dumps(Touch(mark))
    act = toy_programs("export")["act.pt2"]

    def weights(values: dict[str, Any]) -> None:
        for tensor in values["config"].values():
            tensor["use_pickle"] = True

    def constants(values: dict[str, Any]) -> None:
        values["config"]["x"] = {
            "path_name": "opaque_obj_0",
            "is_param": False,
            "use_pickle": True,
        }

    def named_otherwise(values: dict[str, Any]) -> None:
        constants(values)
        values["config"]["x"]["use_pickle"] = False

    attacks: list[tuple[dict[str, bytes | Callable[[Any], None]], str]] = [
        ({WEIGHTS: weights, "data/weights/weight_0": payload}, "is not a plain tensor"),
        (
            {CONSTANTS: constants, "data/constants/tensor_0": payload},
            "is not a plain tensor",
        ),
        (
            {CONSTANTS: named_otherwise, "data/constants/tensor_0": payload},
            "is not a plain tensor",
        ),
        (
            {CONSTANTS: constants, "data/constants/opaque_obj_0": payload},
            "the archive holds '.*opaque_obj_0'",
        ),
        ({"data/constants/custom_obj_0": payload}, "the archive holds '.*custom_obj_0'"),
        ({"data/sample_inputs/model.pt": payload}, "not an exported policy"),
        ({"data/weights/model.pt": payload}, "the archive holds"),
    ]
    for index, (changes, match) in enumerate(attacks):
        refused(tmp_path / str(index), rewrite(act, changes), match)
        assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["data/aotinductor/model/x.so", "extra/notes.txt", "models/other.json"]
)
def test_other_contents_of_an_archive_are_refused(tmp_path: Path, name: str) -> None:
    refused(
        tmp_path / "bundle",
        rewrite(toy_programs("export")["act.pt2"], {name: b"{}"}),
        f"the archive holds '{name}",
    )


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.__class__.mro",
        "math.sqrt",
        "#x:y",
        "_x",
    ],
)
def test_operators_outside_the_core_are_refused(tmp_path: Path, target: str) -> None:
    act = rewrite(
        toy_programs("export")["act.pt2"],
        {MODEL: lambda model: first_node(model).update(target=target)},
    )
    refused(tmp_path / "bundle", act, f"'{target}' is not a core ATen operator")


def set_guard(model: dict[str, Any]) -> None:
    model["guards_code"] = ["print('hello')"]


def set_symbol(model: dict[str, Any]) -> None:
    tensors = model["graph_module"]["graph"]["tensor_values"].values()
    sizes = next(tensor["sizes"] for tensor in tensors if tensor["sizes"])
    sizes[0] = {"as_expr": {"expr_str": "print('hello')", "hint": None}}


def set_container(model: dict[str, Any]) -> None:
    entry = model["graph_module"]["module_call_graph"][0]
    entry["signature"]["in_spec"] = entry["signature"]["in_spec"].replace(
        "builtins.tuple", "collections.defaultdict", 1
    )


def set_metadata(model: dict[str, Any]) -> None:
    first_node(model)["metadata"] = {"nn_module_stack": "x,,torch.nn.Module"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (set_guard, "the graph has guards_code"),
        (set_symbol, "the graph has as_expr"),
        (set_container, "the graph passes a 'collections.defaultdict'"),
        (set_metadata, "the graph has metadata"),
    ],
)
def test_text_that_the_loader_would_evaluate_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], match: str
) -> None:
    refused(
        tmp_path / "bundle",
        rewrite(toy_programs("export")["act.pt2"], {MODEL: change}),
        match,
    )


def test_program_for_another_image_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path / "bundle",
        programs(Toy(), "export", size=16)["act.pt2"],
        r"takes .*\(1, 16, 16, 3\).*expected",
    )


def test_program_of_the_other_output_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path / "bundle", toy_programs("export")["q.pt2"], "takes .*'action'.*expected"
    )


def test_sizes_that_are_not_fixed_are_refused(tmp_path: Path) -> None:
    class AnyBatch(Toy):
        def forward(
            self, image: torch.Tensor, proprio: torch.Tensor, task: torch.Tensor
        ) -> Any:
            return self.act(image, proprio, task)

    inputs = (
        torch.zeros(2, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(2, 7),
        torch.zeros(2, dtype=torch.int64),
    )
    batch = {0: torch.export.Dim("batch")}
    buffer = io.BytesIO()
    torch.export.save(
        torch.export.export(AnyBatch(), inputs, dynamic_shapes=(batch, batch, batch)),
        buffer,
    )
    refused(tmp_path / "bundle", buffer.getvalue(), "is refused: ")


def test_truncated_archive_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path / "bundle",
        toy_programs("export")["act.pt2"][:-100],
        "is not an exported policy",
    )
