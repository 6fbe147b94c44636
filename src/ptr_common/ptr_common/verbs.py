"""The verbs of `ptr`: where each comes from, what it does in one line, and what it lacks."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

GROUP = "ptr.commands"
"""Group of entry points by which a package offers verbs."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "ptr_policy_node": ("compile",),
    "ptr_training": (
        "bundle",
        "convert",
        "export",
        "finetune",
        "import",
        "inspect",
        "pretrain",
        "review",
        "select",
    ),
    "widowx_bringup": (
        "calibrate",
        "collect",
        "demo",
        "doctor",
        "evaluate",
        "record",
        "recover",
        "report",
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
