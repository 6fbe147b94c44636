"""Message definitions as a bag carries them, gathered from the installed interface packages."""

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
    """Return a type's .msg text followed by those of all the types it uses (schema encoding `ros2msg`).

    Args:
        type_name: Full name, for instance "sensor_msgs/msg/Image".

    Raises:
        PtrError: If one of the definitions is not installed.
    """
    texts: dict[str, str] = {}
    waiting = [type_name]
    while waiting:
        name = waiting.pop(0)
        if name not in texts:
            texts[name] = _find(name, "msg").read_text()
            waiting += _types_used(name, texts[name])
    main, *others = texts.items()
    parts = [
        main[1],
        *(
            f"{_SEPARATOR}\nMSG: {name.replace('/msg/', '/')}\n{text}"
            for name, text in others
        ),
    ]
    return "\n".join(parts)


@functools.cache
def type_hash(type_name: str) -> str:
    """Return a type's RIHS01 hash; empty where the distribution installs none (Humble)."""
    try:
        described = json.loads(_find(type_name, "json").read_text())
    except PtrError:
        return ""
    return next(
        entry["hash_string"]
        for entry in described["type_hashes"]
        if entry["type_name"] == type_name
    )


def _types_used(owner: str, text: str) -> list[str]:
    package = owner.split("/")[0]
    names = [name for name in _FIELD.findall(text) if not _PRIMITIVE.fullmatch(name)]
    return [
        f"{(name if '/' in name else f'{package}/{name}').replace('/', '/msg/', 1)}"
        for name in names
    ]


def _find(type_name: str, suffix: str) -> Path:
    package, _, name = type_name.split("/")
    prefixes = [
        *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)),
        sys.prefix,
    ]
    for prefix in prefixes:
        file = Path(prefix) / "share" / package / "msg" / f"{name}.{suffix}"
        if file.is_file():
            return file
    raise PtrError(
        f"no definition of {type_name} below {', '.join(prefixes)}; "
        f"install {package} or source the setup file of its workspace"
    )
