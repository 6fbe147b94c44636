"""`ptr compile`: what it needs, and what becomes of a wrong result."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_bundle import golden, write

from ptr_policy_node import aot_compile
from ptr_policy_node.bundle import BundleError


def folder_of(cache: Path) -> Path:
    (folder,) = (cache / "ptr" / "compiled").iterdir()
    return folder


def test_missing_compiler_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bundle")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        BundleError, match="there is no no-such-compiler: apt-get install g"
    ):
        aot_compile.main([str(tmp_path / "bundle")])
    assert not cache.exists()


def test_a_path_that_pytorch_cannot_compile_from_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bundle")
    monkeypatch.setattr(
        "torch.__file__", str(tmp_path / "a clone" / "torch" / "__init__.py")
    )
    with pytest.raises(
        BundleError,
        match=r"PyTorch is in .*a clone/torch, .* set this project up in another one",
    ):
        aot_compile.main([str(tmp_path / "bundle")])
    assert not cache.exists()


def test_scripted_bundle_cannot_be_compiled(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "bundle", form="torchscript")
    with pytest.raises(BundleError, match="ptr bundle --format export"):
        aot_compile.main([str(tmp_path / "bundle")])


def test_compilation_that_is_wrong_is_removed(
    compiled_bundle: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries of one bundle, as if compiled from another."""
    libraries = folder_of(cache)
    write(tmp_path / "other", action=golden()["action"] + 1)

    def compile_another(programs: object, precision: str, folder: Path) -> None:
        for name in aot_compile.LIBRARIES:
            shutil.copy(libraries / name, folder)

    monkeypatch.setattr(aot_compile, "_compile", compile_another)
    with pytest.raises(BundleError, match="golden action 0 differs"):
        aot_compile.main([str(tmp_path / "other")])
    assert folder_of(cache) == libraries
