"""Bundles compiled for one machine by AOTInductor: `ptr compile`, and the cache that it fills.

A compiled bundle is two native libraries. It is made in `~/.cache/ptr/compiled` (`$XDG_CACHE_HOME`), never in the
bundle: it fits one version of PyTorch and one kind of CPU, and who can write a library can run anything. For the same
reason the node loads it only where it belongs to the user that runs the node and nobody else may write it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundle import PRECISIONS, Bundle, BundleError, load_bundle, read_bundle
from .files import atomic_folder, sha256
from .programs import as_module, example_inputs, read_programs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

LIBRARIES = ("act.so", "q.so")
FILES = ("compiled.json", *LIBRARIES)
OPTIONS = {
    "freezing": True,  # weights become constants, in the order that the convolutions want
    "cpp.threads": 1,  # of what lies between the convolutions; else the number at compile time is built in
    "cpp.vec_isa_ok": True,  # what the CPU can is asked of the CPU, not of four trial compilations
}


def main(argv: list[str]) -> None:
    """Compile a bundle for this machine, so that its policy acts faster."""
    parser = argparse.ArgumentParser(
        prog="ptr compile", description=f"{main.__doc__} The policy node takes it up by itself (backend: auto)."
    )
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="[%(default)s]")
    arguments = parser.parse_args(argv)
    folder = compile_bundle(read_bundle(arguments.bundle), arguments.precision)
    print(f"{arguments.bundle}: compiled to {folder}")


def compile_bundle(bundle: Bundle, precision: str) -> Path:
    """Compile a bundle for this machine, check the result against the golden outputs, and return its folder.

    Raises:
        BundleError: If there is no compiler, the bundle is of another form, PyTorch lies where it cannot compile, or
            the result does not reproduce the bundle.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BundleError(
            f"compiling needs a C++ compiler, and there is no {compiler}: apt-get install g++, or set CXX"
        )
    programs, folder = read_programs(bundle), _folder(bundle, precision)
    if not can_compile():
        raise BundleError(
            f"PyTorch lies in {_torch_folder()}, and it cannot compile from a folder with a space in its path: "
            "set this project up in another one, or use the backend export"
        )
    for above in (folder.parent.parent, folder.parent):
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with atomic_folder(folder, overwrite=True) as partial:
            partial.chmod(0o700)
            _compile(programs, precision, partial)
            _describe(bundle, precision, partial)
    except RuntimeError as error:  # with the compiler's words
        raise BundleError(f"{bundle.path} cannot be compiled here: {error}") from error
    try:
        load_bundle(bundle.path, backend="aot", precision=precision)
    except BundleError:
        shutil.rmtree(folder)
        raise
    return folder


def can_compile() -> bool:
    """Return whether PyTorch lies where it can compile: it does not quote its own path for the compiler."""
    return " " not in str(_torch_folder())


def _torch_folder() -> Path:
    import torch

    return Path(torch.__file__).parent


def exists(bundle: Bundle, precision: str) -> bool:
    """Return whether there is a compilation of this very bundle for this machine."""
    return bundle.form == "export" and _folder(bundle, precision).is_dir()


def load(bundle: Bundle, precision: str) -> tuple[Any, Any]:
    """Return runners of the compiled `act` and `q`: `run(list of tensors) -> list of tensors`.

    Raises:
        BundleError: If the bundle has not been compiled, or what is there is not to be trusted or not for this machine.
    """
    import torch

    folder = _folder(bundle, precision)
    again = f"`ptr compile {bundle.path} --precision {precision}`"
    if not folder.is_dir():
        raise BundleError(
            f"{bundle.path} is not compiled for this machine in {precision}: {again}, or choose a backend"
        )
    try:
        for path in (folder.parent.parent, folder.parent, folder, *(folder / name for name in FILES)):
            _check_owner(path)
        found = json.loads((folder / "compiled.json").read_bytes())
        expected = _description(bundle, precision, folder)
        for what, value in expected.items():
            if found[what] != value:
                raise BundleError(f"{folder}: {what} is {found[what]}, expected {value}; compile again: {again}")
        act, q = (torch._C._aoti.AOTIModelContainerRunnerCpu(str(folder / name), 1) for name in LIBRARIES)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BundleError(f"{folder} is damaged ({error}); compile again: {again}") from error
    return act, q


def _folder(bundle: Bundle, precision: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    machine = hashlib.sha256(json.dumps(_machine()).encode()).hexdigest()[:12]
    return cache / "ptr" / "compiled" / f"{bundle.bundle_id}-{precision}-{machine}"


def _machine() -> dict[str, str]:
    """Return what a compiled bundle fits to."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    features = sorted(name for name, has in capabilities.items() if has is True)
    cpu = f"{capabilities['architecture']} {capabilities.get('cpu_name', '')}"
    return {"torch": torch.__version__, "cpu": cpu, "features": " ".join(features)}


def _description(bundle: Bundle, precision: str, folder: Path) -> dict[str, Any]:
    hashes = {name: sha256(folder / name) for name in LIBRARIES}
    return {"bundle": bundle.bundle_id, "precision": precision, "machine": _machine(), "sha256": hashes}


def _check_owner(path: Path) -> None:
    """Raise BundleError if anybody but this process's user may have written a file or folder."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise BundleError(
            f"{path} is a link, belongs to user {found.st_uid} or may be written by others (mode {found.st_mode:o}); "
            f"a compiled bundle must belong to user {os.geteuid()} alone: remove it and compile it again"
        )


def _compile(programs: tuple[ExportedProgram, ExportedProgram], precision: str, folder: Path) -> None:
    """Write the libraries."""
    import torch
    from torch._inductor.utils import fresh_cache
    from tqdm import tqdm

    package = folder / "package.pt2"
    # PyTorch's own cache has a name in /tmp that anybody can take. Weights are frozen only where none can be learnt.
    with fresh_cache(dir=str(folder)), torch.no_grad():
        for name, program in tqdm(list(zip(LIBRARIES, programs, strict=True)), desc="compile", unit="program"):
            lowered = torch.export.export(as_module(program, precision), example_inputs(program))
            torch._inductor.aoti_compile_and_package(lowered, package_path=str(package), inductor_configs=OPTIONS)
            with zipfile.ZipFile(package) as archive:
                (library,) = (each for each in archive.namelist() if each.endswith(".so"))
                (folder / name).write_bytes(archive.read(library))
            package.unlink()
            (folder / name).chmod(0o600)


def _describe(bundle: Bundle, precision: str, folder: Path) -> None:
    file = folder / "compiled.json"
    file.write_text(json.dumps(_description(bundle, precision, folder), indent=1) + "\n")
    file.chmod(0o600)
