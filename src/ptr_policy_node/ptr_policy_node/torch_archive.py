"""The zip archives of PyTorch, in both forms of bundle: which files they may hold, how large."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from .bundle import BundleError

SLACK = 1 << 26
"""Bytes by which the files of an archive may be larger unpacked; PyTorch packs only code."""


def check_records(reader: Any, allowed: re.Pattern[str], size: int) -> list[str]:
    """Return the names of the files in an archive; nothing is unpacked.

    Args:
        reader: The archive, open in PyTorch's reader, which also loads it later.
        allowed: Names that a file may have.
        size: Bytes of the archive.

    Raises:
        BundleError: If a file has another name, or that of another file, or if the files are
            much larger than the archive.
    """
    names: list[str] = reader.get_all_records()
    for name, count in Counter(names).items():
        if not allowed.fullmatch(name) or count > 1:
            raise BundleError(f"the archive holds {name!r}")
    unpacked = sum(reader.get_record_size(name) for name in names)
    if unpacked > 2 * size + SLACK:
        raise BundleError(f"its {size} bytes become {unpacked} when they are unpacked")
    return names
