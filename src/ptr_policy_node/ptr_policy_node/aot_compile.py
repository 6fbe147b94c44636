"""`ptr compile`: compiles a bundle for this machine with AOTInductor, into the cache of `aot_cache.py`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ptr_common.files import atomic_folder

from .aot_cache import LIBRARIES, cache_folder, description
from .bundle import PRECISIONS, Bundle, BundleError, read_bundle
from .exported_programs import as_module, example_inputs, read_programs
from .policy import load_bundle

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPTIONS = {
    "freezing": True,  # weights become constants, in the order that the convolutions want
    "cpp.threads": 1,  # of what lies between the convolutions; else the number at compile time is built in
    "cpp.vec_isa_ok": True,  # what the CPU can is asked of the CPU, not of four trial compilations
}


def main(argv: list[str]) -> None:
    """Compile a bundle for this machine, so that its policy acts faster."""
    parser = argparse.ArgumentParser(
        prog="ptr compile",
        description=f"{main.__doc__} The policy node takes it up by itself (backend: auto).",
    )
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="[%(default)s]"
    )
    arguments = parser.parse_args(argv)
    folder = compile_bundle(read_bundle(arguments.bundle), arguments.precision)
    print(f"{arguments.bundle}: compiled to {folder}")


def compile_bundle(bundle: Bundle, precision: str) -> Path:
    """Compile a bundle for this machine, check the result against the golden outputs, and return its folder.

    Raises:
        BundleError: If there is no compiler, the bundle is of another form, PyTorch lies
            where it cannot compile, or the result does not reproduce the bundle.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BundleError(
            f"compiling needs a C++ compiler, and there is no {compiler}: apt-get install g++, or set CXX"
        )
    programs, folder = read_programs(bundle), cache_folder(bundle, precision)
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


def _compile(
    programs: tuple[ExportedProgram, ExportedProgram], precision: str, folder: Path
) -> None:
    """Write the libraries."""
    import torch
    from torch._inductor.utils import fresh_cache
    from tqdm import tqdm

    package = folder / "package.pt2"
    # PyTorch's own cache has a name in /tmp that anybody can take. Weights are frozen only
    # where none can be learnt.
    with fresh_cache(dir=str(folder)), torch.no_grad():
        for name, program in tqdm(
            list(zip(LIBRARIES, programs, strict=True)), desc="compile", unit="program"
        ):
            lowered = torch.export.export(
                as_module(program, precision), example_inputs(program)
            )
            torch._inductor.aoti_compile_and_package(
                lowered, package_path=str(package), inductor_configs=OPTIONS
            )
            with zipfile.ZipFile(package) as archive:
                (library,) = (each for each in archive.namelist() if each.endswith(".so"))
                (folder / name).write_bytes(archive.read(library))
            package.unlink()
            (folder / name).chmod(0o600)


def _describe(bundle: Bundle, precision: str, folder: Path) -> None:
    file = folder / "compiled.json"
    file.write_text(json.dumps(description(bundle, precision, folder), indent=1) + "\n")
    file.chmod(0o600)
