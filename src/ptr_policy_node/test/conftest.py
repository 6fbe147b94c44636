"""Fixtures of compiled bundles; one is compiled for all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and a cache that holds it compiled in float32."""
    from toy_bundle import write

    from ptr_policy_node.aot_compile import can_compile, compile_bundle
    from ptr_policy_node.bundle import read_bundle

    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("there is no C++ compiler")
    if not can_compile():
        pytest.skip("PyTorch cannot compile from a folder with a space in its path")
    folder = tmp_path_factory.mktemp("compiled")
    write(folder / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        compile_bundle(read_bundle(folder / "bundle"), "float32")
    return folder / "bundle", folder / "cache"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of compiled bundles."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compiled_bundle(compiled_once: tuple[Path, Path], cache: Path) -> Path:
    """A bundle that has been compiled, in a cache of its own."""
    shutil.copytree(compiled_once[1], cache)
    return compiled_once[0]
