"""Codes that stand for the methods of a blinded session until it is unblinded."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptr_common.documents import Fields, read_json
from ptr_common.files import atomic_file

from .plan import SessionError

FILE = "sealed.json"
"""Which method each code stands for. Nobody who judges trials reads it before the end."""

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Sealed:
    """What nobody who judges trials knows before the session is unblinded.

    Attributes:
        codes: Code of each method.
        salt: Drawn anew for each session, so that neither codes nor order can be guessed.
    """

    codes: dict[str, str]
    salt: str


def seal(folder: Path, methods: Sequence[str], *, blind: bool) -> str:
    """Draw a code for each method, write them down, and return what proves them later.

    Args:
        folder: Of the session.
        methods: Names of the methods.
        blind: Whether they get codes; else each one's code is its name.

    Returns:
        SHA-256 of the file, whose salt keeps it from being guessed.
    """
    codes = list(methods)
    if blind:
        codes = list(LETTERS[: len(methods)])
        random.SystemRandom().shuffle(codes)
    content = {
        "codes": dict(zip(methods, codes, strict=True)),
        "salt": secrets.token_hex(16),
    }
    text = json.dumps(content, indent=1) + "\n"
    with atomic_file(folder / FILE) as path:
        path.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def read_sealed(folder: Path, seal_sha256: str) -> Sealed:
    """Return what was sealed when a session began.

    Args:
        folder: Of the session.
        seal_sha256: What `seal` returned.

    Raises:
        SessionError: If the file is gone, or is not the one that was sealed.
    """
    path = folder / FILE
    values = read_json(path, SessionError)
    if hashlib.sha256(path.read_bytes()).hexdigest() != seal_sha256:
        raise SessionError(
            f"{path} is not what was sealed when the session began; restore it from a copy"
        )
    fields = Fields(values, path, SessionError)
    codes = fields.table("codes")
    named = {method: codes.text(method) for method in codes.values}
    return Sealed(named, fields.text("salt"))
