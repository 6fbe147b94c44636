"""The verbs of `ptr`: where each comes from, what it does in one line, what it lacks, its options.

Shells complete them by argcomplete:

    eval "$(register-python-argcomplete ptr)"

A verb makes its parser inside its function. So the function is called, and stopped where it
would parse; argcomplete gets the parser that it would have used.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NoReturn

GROUP = "ptr.commands"
"""Group of entry points by which a package offers verbs."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "ptr_policy_node": ("compile", "serve"),
    "ptr_training": (
        "bundle",
        "convert",
        "export",
        "finetune",
        "import",
        "inspect",
        "merge",
        "pretrain",
        "review",
        "select",
        "submit",
        "view",
    ),
    "widowx_bringup": (
        "benchmark",
        "calibrate",
        "collect",
        "console",
        "demo",
        "doctor",
        "evaluate",
        "record",
        "recover",
        "replay",
        "report",
        "session",
        "study",
        "teleop",
        "up",
    ),
}
"""Verbs of our packages, so that a verb is listed also where its package is not installed."""

OURS = ("ptr_common", *PACKAGES)

ROS = re.compile(
    r"rclpy|rpyutils|rosidl_\w+|launch(_ros)?|ament_\w+|\w+_(msgs|interfaces|srvs)"
)
"""Modules that come with ROS 2."""

DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "yaml": "pyyaml",
}
"""Names on PyPI that differ from the module's."""


@dataclass(frozen=True)
class Verb:
    """A verb of `ptr`.

    Attributes:
        name: Its name.
        package: The package it belongs to.
        entry: Where its function is; None if the package is not installed.
    """

    name: str
    package: str
    entry: EntryPoint | None

    def summary(self) -> str:
        """Return the first line of the function's docstring, without importing its module.

        Where the source cannot be found, the line says what the verb needs.
        """
        if self.entry is None:
            return f"[needs {how_to_get(self.package)}]"
        try:
            found = importlib.util.find_spec(self.entry.module)
        except ImportError as error:
            return f"[needs {how_to_get(_top_level(error.name) or self.package)}]"
        if found is None or found.origin is None:
            return f"[needs {how_to_get(self.package)}]"
        return _first_line(Path(found.origin), self.entry.attr)


def find_verbs() -> dict[str, Verb]:
    """Return all verbs by name: those of installed packages, and the others of this project."""
    verbs = {}
    for package, names in PACKAGES.items():
        for name in names:
            verbs[name] = Verb(name, package, None)
    for entry in entry_points(group=GROUP):
        verbs[entry.name] = Verb(entry.name, entry.module.partition(".")[0], entry)
    return dict(sorted(verbs.items()))


def _first_line(file: Path, function: str) -> str:
    """Return the first line of a function's docstring in a source file; empty without one.

    Args:
        file: The source of the module.
        function: Name of the function.
    """
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            docstring = ast.get_docstring(node) or ""
            return docstring.partition("\n")[0]
    return ""


def how_to_get(module: str) -> str:
    """Return what brings a missing module, and how to install it.

    Args:
        module: Top-level name of the module.
    """
    if module == "ptr_msgs":
        return "the messages of ptr_msgs: make setup, or colcon build and source its setup.bash"
    if module in OURS:
        return f"the package {module}: make setup, or pip install src/{module}"
    if ROS.fullmatch(module):
        return f"ROS 2 ({module}): make setup, or source /opt/ros/DISTRO/setup.bash"
    distribution = DISTRIBUTIONS.get(module, module.replace("_", "-"))
    return f"the Python package {distribution}: make setup, or pip install {distribution}"


def missing(error: ImportError) -> str:
    """Return which package an import needs and how to get it.

    Args:
        error: The error of the import.

    Returns:
        A clause for an error message; empty if the error is a mistake in our code.
    """
    module = _top_level(error.name)
    if isinstance(error, ModuleNotFoundError) and module:
        if module in OURS and _is_installed(module):
            return ""
        return how_to_get(module)
    if module in OURS:
        return ""
    return f"{how_to_get(module)} ({error})" if module else str(error)


def _top_level(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


METHODS = ("parse_known_args", "parse_known_intermixed_args")
"""Methods of `argparse.ArgumentParser` by which all others parse."""


class _ParserFoundError(BaseException):
    """Carries a parser out of the function that made it, past every `except Exception`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(function: Callable[[list[str]], object]) -> argparse.ArgumentParser:
    """Return the parser that the function of a verb makes; the function ends where it parses.

    Args:
        function: The function of a verb, which takes its command line.

    Raises:
        LookupError: If the function ends without parsing anything.
    """
    try:
        with _stop_at_parsing():
            function([])
    except _ParserFoundError as found:
        return found.parser
    raise LookupError(f"{function.__module__}.{function.__qualname__} parses no arguments")


@contextlib.contextmanager
def _stop_at_parsing() -> Iterator[None]:
    """Have every parser raise `_ParserFoundError` where it would parse."""

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        """Take the place of a method that parses."""
        raise _ParserFoundError(parser)

    originals = {}
    for method in METHODS:
        originals[method] = getattr(argparse.ArgumentParser, method)
        setattr(argparse.ArgumentParser, method, stop)
    try:
        yield
    finally:
        for method, original in originals.items():
            setattr(argparse.ArgumentParser, method, original)


def complete(verbs: Mapping[str, Verb]) -> None:
    """Answer the shell's request for completions and end the process.

    Nothing happens where argcomplete is not installed. The shell's request is in the
    environment: `COMP_LINE`, `COMP_POINT`, and `_ARGCOMPLETE`, the number of words that
    start the program.

    Args:
        verbs: All verbs by name.
    """
    try:
        import argcomplete
        from argcomplete.lexers import split_line
    except ImportError:
        return
    first = int(os.environ["_ARGCOMPLETE"])
    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][first:]

    parser = _parser_of_verbs(verbs)
    if words:
        verb = verbs.get(words[0])
        if verb is None or verb.entry is None:
            return
        parser = parser_of(verb.entry.load())
        os.environ["_ARGCOMPLETE"] = str(first + 1)  # the verb starts the program, too
    argcomplete.autocomplete(parser)


def _parser_of_verbs(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """Return a parser of `ptr` itself; shells that show descriptions show the summaries."""
    parser = argparse.ArgumentParser(prog="ptr")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for verb in verbs.values():
        commands.add_parser(verb.name, help=verb.summary().replace("%", "%%"))
    return parser
