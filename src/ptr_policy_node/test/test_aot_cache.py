"""The cache of compiled bundles: what is loaded from it, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_bundle import INFO, write

from ptr_policy_node import aot_cache
from ptr_policy_node.bundle import BundleError, read_bundle
from ptr_policy_node.policy import load_bundle


def folder_of(cache: Path) -> Path:
    (folder,) = (cache / "ptr" / "compiled").iterdir()
    return folder


def test_bundle_that_is_not_compiled_is_refused_with_the_command(
    tmp_path: Path, cache: Path
) -> None:
    write(tmp_path / "bundle")
    with pytest.raises(
        BundleError, match=f"`ptr compile {tmp_path / 'bundle'} --precision float32`"
    ):
        load_bundle(tmp_path / "bundle", backend="aot")


def test_cache_is_its_owners_alone(compiled_bundle: Path, cache: Path) -> None:
    folder = folder_of(cache)
    assert sorted(path.name for path in folder.iterdir()) == [
        "act.so",
        "compiled.json",
        "q.so",
    ]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.iterdir()))


def test_compilation_of_an_older_bundle_is_not_taken(
    compiled_bundle: Path, tmp_path: Path
) -> None:
    write(tmp_path / "newer", replace(INFO, code_version="0.2.0"))
    assert load_bundle(tmp_path / "newer").backend == "export float32"
    with pytest.raises(BundleError, match="is not compiled for this machine"):
        load_bundle(tmp_path / "newer", backend="aot")


def test_compilation_in_another_precision_is_not_taken(compiled_bundle: Path) -> None:
    with pytest.raises(BundleError, match="is not compiled for this machine in bfloat16"):
        aot_cache.load(read_bundle(compiled_bundle), "bfloat16")


@pytest.mark.parametrize("what", ["version of PyTorch", "CPU"])
def test_compilation_for_another_machine_is_not_found(
    compiled_bundle: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "CPU":
        other = {**torch.cpu.get_capabilities(), "avx2": False, "new_instructions": True}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: other)
    else:
        monkeypatch.setattr(torch, "__version__", "2.14.0")
    assert load_bundle(compiled_bundle).backend == "export float32"
    with pytest.raises(BundleError, match="is not compiled for this machine"):
        load_bundle(compiled_bundle, backend="aot")


def test_compilation_copied_from_another_machine_is_refused(
    compiled_bundle: Path, cache: Path
) -> None:
    file = folder_of(cache) / "compiled.json"
    values = json.loads(file.read_text())
    values["machine"]["cpu"] = "aarch64 Cortex-A78AE"
    file.write_text(json.dumps(values))
    for backend in ("aot", "auto"):
        with pytest.raises(
            BundleError, match=r"machine is .*Cortex-A78AE.*, expected .*: `ptr compile"
        ):
            load_bundle(compiled_bundle, backend=backend)


def test_altered_library_is_refused(compiled_bundle: Path, cache: Path) -> None:
    with (folder_of(cache) / "q.so").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="sha256 is"):
        load_bundle(compiled_bundle)


def test_damaged_compilation_is_refused(compiled_bundle: Path, cache: Path) -> None:
    (folder_of(cache) / "compiled.json").write_text("{}")
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(compiled_bundle)
    (folder_of(cache) / "act.so").unlink()
    with pytest.raises(BundleError, match=r"is damaged .*act\.so"):
        load_bundle(compiled_bundle)


@pytest.mark.parametrize("name", ["../..", "..", "", "act.so", "compiled.json"])
def test_what_others_may_write_is_refused(
    compiled_bundle: Path, cache: Path, name: str
) -> None:
    path = folder_of(cache) / name
    path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(BundleError, match="may be written by others"):
        load_bundle(compiled_bundle)


def test_link_to_another_library_is_refused(
    compiled_bundle: Path, cache: Path, tmp_path: Path
) -> None:
    library = folder_of(cache) / "act.so"
    shutil.move(library, tmp_path / "elsewhere.so")
    library.symlink_to(tmp_path / "elsewhere.so")
    with pytest.raises(BundleError, match="is a link"):
        load_bundle(compiled_bundle)


def test_library_of_another_user_is_refused(
    compiled_bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: folder_of(cache).stat().st_uid + 1)
    with pytest.raises(BundleError, match="belongs to user"):
        load_bundle(compiled_bundle)
