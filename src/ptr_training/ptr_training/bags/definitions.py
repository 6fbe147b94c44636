"""Message types from the definitions in a recording, or from those that are installed."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

from rosbags.typesys import (
    Stores,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from .errors import BagError


@functools.lru_cache(maxsize=64)
def parsed(type_name: str, language: str, text: str) -> Typestore:
    """Return a store with the types of one definition, parsed once for all bags with it.

    Args:
        type_name: Type that the definition is of.
        language: Language of the definition, ros2msg or ros2idl.
        text: The definition, with those of the types it uses.
    """
    types: dict[str, Any] = {}
    if language == "ros2idl":
        # files one after the other, each below a line "IDL: package/msg/Name"
        for part in text.split("=" * 80 + "\n"):
            if part.startswith("IDL: "):
                part = part.split("\n", 1)[1]
            if part:
                types |= get_types_from_idl(part)
    else:
        types = dict(get_types_from_msg(text, type_name))

    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def installed(type_name: str, path: Path) -> Typestore:
    """Return a store with an installed type (SQLite bags of Humble define none).

    The types of ROS 2 Humble are part of the library; others are searched in the workspaces
    of AMENT_PREFIX_PATH.

    Raises:
        BagError: If the type is not installed.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    if type_name in store.types:
        return store
    package, _, name = type_name.split("/")
    prefixes = [sys.prefix]
    if workspaces := os.environ.get("AMENT_PREFIX_PATH", ""):
        prefixes = [*filter(None, workspaces.split(os.pathsep)), sys.prefix]
    for prefix in prefixes:
        folder = Path(prefix) / "share" / package / "msg"
        if not (folder / f"{name}.msg").is_file():
            continue
        for file in sorted(folder.glob("*.msg")):
            types = get_types_from_msg(file.read_text(), f"{package}/msg/{file.stem}")
            store.register(types)
        return store

    raise BagError(
        f"{path} does not define {type_name}, and {package} is not installed below "
        f"{', '.join(prefixes)}: source the workspace's setup file, "
        "or record with `ros2 bag record --storage mcap`"
    )
