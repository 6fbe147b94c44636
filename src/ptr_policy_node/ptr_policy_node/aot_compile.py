"""`ptr compile`: compiles a bundle for this machine with AOTInductor, into the cache."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ptr_common.arguments import VerbParser
from ptr_common.files import atomic_folder
from ptr_common.progress import progress

from .aot_cache import DESCRIPTION, LIBRARIES, cache_folder, description
from .bundle import PRECISIONS, Bundle, BundleError, read_bundle
from .exported_programs import as_module, example_inputs, read_programs
from .policy import load_bundle

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPTIONS = {
    "freezing": True,  # weights become constants, in the layout of the convolutions
    "cpp.threads": 1,  # between convolutions; by default the number at compile time is built in
    "cpp.vec_isa_ok": True,  # asks the CPU for its features instead of compiling four trials
}
"""Options of AOTInductor."""


def main(argv: list[str]) -> None:
    """Compile a bundle for this machine, so that its policy acts faster."""
    parser = VerbParser(
        "compile",
        f"{main.__doc__} The policy node uses the result by itself (backend: auto).",
    )
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="type in which convolutions are computed",
    )
    options = parser.parse_args(argv)
    folder = compile_bundle(read_bundle(options.bundle), options.precision)
    print(f"{options.bundle}: compiled to {folder}")


def compile_bundle(bundle: Bundle, precision: str) -> Path:
    """Compile a bundle for this machine and check the result against the golden outputs.

    Args:
        bundle: The bundle.
        precision: One of `PRECISIONS`.

    Returns:
        The folder of the compiled bundle.

    Raises:
        BundleError: If there is no compiler, the bundle is of another form, PyTorch cannot
            compile from its folder, or the result does not reproduce the bundle.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BundleError(
            f"compiling needs a C++ compiler, and there is no {compiler}: apt-get install g++, "
            "or set CXX"
        )
    programs = read_programs(bundle)
    folder = cache_folder(bundle, precision)
    if not can_compile():
        raise BundleError(
            f"PyTorch is in {_torch_folder()}, and it cannot compile from a folder with a space "
            "in its path: set this project up in another one, or use the backend export"
        )
    for above in (folder.parent.parent, folder.parent):
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with atomic_folder(folder, overwrite=True) as partial:
            partial.chmod(0o700)
            _compile(programs, precision, partial)
            _describe(bundle, precision, partial)
    except RuntimeError as error:  # its text has the compiler's message
        raise BundleError(f"{bundle.path} cannot be compiled here: {error}") from error
    try:
        load_bundle(bundle.path, backend="aot", precision=precision)
    except BundleError:
        shutil.rmtree(folder)
        raise
    return folder


def can_compile() -> bool:
    """Return whether PyTorch can compile from its folder; it does not quote spaces in paths."""
    return " " not in str(_torch_folder())


def _torch_folder() -> Path:
    import torch

    return Path(torch.__file__).parent


def _compile(
    programs: tuple[ExportedProgram, ExportedProgram], precision: str, folder: Path
) -> None:
    """Compile `act` and `q` to the libraries of a folder."""
    import torch
    from torch._inductor.utils import fresh_cache

    pairs = list(zip(LIBRARIES, programs, strict=True))
    # The name of PyTorch's own cache in /tmp can be taken by anybody. Freezing needs no_grad.
    with fresh_cache(dir=str(folder)), torch.no_grad():
        for name, program in progress(pairs, desc="compile", unit="program"):
            _compile_program(program, precision, folder / name)


def _compile_program(program: ExportedProgram, precision: str, library: Path) -> None:
    import torch

    package = library.with_name("package.pt2")
    lowered = torch.export.export(as_module(program, precision), example_inputs(program))
    torch._inductor.aoti_compile_and_package(
        lowered, package_path=str(package), inductor_configs=OPTIONS
    )
    with zipfile.ZipFile(package) as archive:
        (content,) = (name for name in archive.namelist() if name.endswith(".so"))
        library.write_bytes(archive.read(content))
    package.unlink()
    library.chmod(0o600)


def _describe(bundle: Bundle, precision: str, folder: Path) -> None:
    file = folder / DESCRIPTION
    file.write_text(json.dumps(description(bundle, precision, folder), indent=1) + "\n")
    file.chmod(0o600)
