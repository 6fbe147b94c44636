"""Message definitions for a bag, read from the installed interface packages."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from pathlib import Path

from ptr_common.errors import PtrError

_PRIMITIVE = re.compile(r"bool|byte|char|w?string|float(32|64)|u?int(8|16|32|64)")
_FIELD = re.compile(
    r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[a-z]\w*", re.MULTILINE
)
_SEPARATOR = "=" * 80


@functools.cache
def message_definition(type_name: str) -> str:
    """Return the .msg text of a type and of all types it uses (schema encoding `ros2msg`).

    Args:
        type_name: Full name, for instance "sensor_msgs/msg/Image".

    Returns:
        The text of the type, then those of the others, each after a line of "=" and its name.

    Raises:
        PtrError: If one of the definitions is not installed.
    """
    texts: dict[str, str] = {}
    queue = [type_name]
    while queue:
        name = queue.pop(0)
        if name not in texts:
            texts[name] = _find(name, "msg").read_text()
            queue += _types_used(name, texts[name])

    parts = [texts.pop(type_name)]
    for name, text in texts.items():
        parts.append(f"{_SEPARATOR}\nMSG: {name.replace('/msg/', '/')}\n{text}")
    return "\n".join(parts)


@functools.cache
def type_hash(type_name: str) -> str:
    """Return the RIHS01 hash of a type.

    Args:
        type_name: Full name, for instance "sensor_msgs/msg/Image".

    Returns:
        The hash; empty where the distribution of ROS installs none (Humble).
    """
    try:
        description = json.loads(_find(type_name, "json").read_text())
    except PtrError:
        return ""

    hashes = {}
    for entry in description["type_hashes"]:
        hashes[entry["type_name"]] = entry["hash_string"]
    return hashes[type_name]


def _types_used(owner: str, text: str) -> list[str]:
    """Return the full names of the message types in the .msg text of the type `owner`."""
    package = owner.split("/")[0]
    types = []
    for name in _FIELD.findall(text):
        if _PRIMITIVE.fullmatch(name):
            continue
        qualified = name if "/" in name else f"{package}/{name}"
        types.append(qualified.replace("/", "/msg/", 1))
    return types


def _find(type_name: str, suffix: str) -> Path:
    """Return the installed file of a message type.

    Args:
        type_name: Full name of the type.
        suffix: `msg` for its definition, `json` for its description with hashes.

    Raises:
        PtrError: If no prefix of ROS, nor that of Python, has the file.
    """
    package, _, name = type_name.split("/")
    prefixes = [
        prefix
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if prefix
    ]
    prefixes.append(sys.prefix)

    for prefix in prefixes:
        file = Path(prefix) / "share" / package / "msg" / f"{name}.{suffix}"
        if file.is_file():
            return file
    raise PtrError(
        f"no definition of {type_name} below {', '.join(prefixes)}; "
        f"install {package} or source the setup file of its workspace"
    )
