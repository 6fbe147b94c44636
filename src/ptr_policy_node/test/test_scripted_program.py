"""A scripted policy that could do anything but compute is refused before PyTorch loads it."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from toy_bundle import Toy, edit, write

from ptr_policy_node.bundle import BundleError
from ptr_policy_node.policy import load_bundle
from ptr_policy_node.scripted_program import check_archive

TOY = "code/__torch__/toy_bundle.py"


@pytest.fixture(scope="module")
def genuine() -> bytes:
    content: bytes = torch.jit.script(Toy()).save_to_buffer()
    return content


def _altered(content: bytes, changes: dict[str, bytes]) -> bytes:
    """Return an archive with files replaced or added."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    files = {name: reader.get_record(name) for name in reader.get_all_records()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**files, **changes}.items():
            archive.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def _with_code(content: bytes, line: str) -> bytes:
    """Return an archive whose method `act` begins with a line of code."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    code = reader.get_record(TOY).decode()
    first = "    grey = self.grey\n"
    assert first in code
    return _altered(content, {TOY: code.replace(first, f"    {line}\n{first}").encode()})


def test_a_policy_is_accepted(genuine: bytes) -> None:
    check_archive(genuine)
    check_archive(_altered(genuine, {}))
    check_archive(_with_code(genuine, 'message = "two\\nlines"'))


@pytest.mark.parametrize(
    "line",
    [
        'torch.save([proprio], "/tmp/x")',
        'proprio.save("/tmp/x")',
        'ops.aten.save(proprio, "/tmp/x")',
        'x = torch.from_file("/tmp/x", True, 8, dtype=3, layout=0, device="cpu")',
        'x = getattr(torch, "from_file")("/tmp/x")',
        "torch.manual_seed(0)",
        "torch.set_(proprio, image)",
    ],
)
def test_operator_that_no_policy_needs_is_refused(genuine: bytes, line: str) -> None:
    with pytest.raises(BundleError, match=f"{TOY} names the operator"):
        check_archive(_with_code(genuine, line))


@pytest.mark.parametrize(
    "line",
    [
        'x = getattr(torch, "sa" "ve")',
        'x = getattr(getattr(self, "a"), "sa" "ve")',
        'x = getattr(torch, "sa\\166e")',
        'x = getattr(torch, "\\x73ave")',
        "x = __torch__.torch.classes.quantized.Conv2d()",
    ],
)
def test_name_that_is_hidden_is_refused(genuine: bytes, line: str) -> None:
    with pytest.raises(BundleError, match=f"{TOY} names"):
        check_archive(_with_code(genuine, line))


class _Call:
    """Pickled, it calls a function of this computer."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path, ("x",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_that_names_anything_else_is_refused(genuine: bytes, protocol: int) -> None:
    changes = {"constants.pkl": pickle.dumps(_Call(), protocol)}
    with pytest.raises(BundleError, match=r"constants\.pkl (names|has)"):
        check_archive(_altered(genuine, changes))


@pytest.mark.parametrize("name", ["bytecode.pkl", "extra/x", "code/__torch__/x.so"])
def test_other_file_in_the_archive_is_refused(genuine: bytes, name: str) -> None:
    with pytest.raises(BundleError, match=f"the archive holds '{name}'"):
        check_archive(_altered(genuine, {name: b""}))


def test_archive_that_grows_when_it_is_unpacked_is_refused(genuine: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(70 << 20))
        archive.writestr("archive/version", b"3")
    with pytest.raises(BundleError, match=r"bytes become \d+ when they are unpacked"):
        check_archive(buffer.getvalue())


def test_a_refused_program_names_its_file_and_nothing_of_it_runs(
    genuine: bytes, tmp_path: Path
) -> None:
    write(tmp_path / "bundle", form="torchscript")
    line = f'torch.save([proprio], "{tmp_path / "loot"}")'
    (tmp_path / "bundle" / "policy.pt").write_bytes(_with_code(genuine, line))
    edit(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"policy\.pt is refused: .*'save'"):
        load_bundle(tmp_path / "bundle")
    assert not (tmp_path / "loot").exists()
