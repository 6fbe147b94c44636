"""The journal of a session: one line for each thing that happened, on disk before the next.

Each line holds the hash of the line before it, so that a line that was changed or taken out
later is found; that is their order, whatever a clock said. A line that a crash tore is cut off
when the journal is opened.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from ptr_common.documents import parse_json
from ptr_common.files import append_durably

from .plan import SessionError

FILE = "journal.jsonl"

BEGUN = "begun"
STARTED = "started"
TRIAL = "trial"
UNBLINDED = "unblinded"

EVENTS = (BEGUN, STARTED, TRIAL, UNBLINDED)
"""Kinds of lines: the session with its plan; a trial that begins; one that ended, whether it
counts or not; and the end of blinding, which closes the session."""

_NOTHING = hashlib.sha256(b"").hexdigest()
"""What stands before the first line."""


class Journal:
    """A session's journal, open for writing by this process alone.

    Args:
        folder: Of the session. It is made if there is none.

    Attributes:
        lines: All lines so far, oldest first.

    Raises:
        SessionError: If another process has it open, or it was changed by hand.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._file: BinaryIO = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise SessionError(
                f"{self.path} is in use: another process runs this session; "
                "wait for its end, or stop it"
            ) from error
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self._file.truncate(len(whole))
        try:
            self.lines, self._last = parse_lines(whole, self.path)
        except SessionError:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others open it."""
        self._file.close()

    def add(self, event: str, **values: Any) -> dict[str, Any]:
        """Write a line; it is on disk when this returns.

        Args:
            event: One of `EVENTS`.
            values: What JSON can hold.

        Raises:
            OSError: If the disk is full; nothing of the line is left then.
        """
        line = {
            "event": event,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **values,
            "previous": self._last,
        }
        content = json.dumps(line).encode() + b"\n"
        append_durably(self._file, content)
        self._last = hashlib.sha256(content).hexdigest()
        self.lines.append(line)
        return line


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal, without a torn last one; it may be open elsewhere.

    Raises:
        SessionError: If there is none, or it was changed by hand.
    """
    path = folder / FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SessionError(
            f"{folder} holds no session: {path} cannot be read ({error.strerror}); "
            "`ptr session run PLAN --out FOLDER` begins one"
        ) from error
    return parse_lines(content[: content.rfind(b"\n") + 1], path)[0]


def parse_lines(content: bytes, path: Path) -> tuple[list[dict[str, Any]], str]:
    """Return the lines of a journal, and the hash of the last one.

    Args:
        content: Whole lines.
        path: Of the journal, for messages.

    Raises:
        SessionError: If a line is none of a journal, or does not follow the one before it.
    """
    lines = []
    last = _NOTHING
    for number, raw in enumerate(content.splitlines(keepends=True), 1):
        try:
            line = parse_json(raw)
            known = line["event"] in EVENTS and line["previous"] == last
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise SessionError(
                f"{path}: line {number} is damaged, or was changed after it was written; "
                "restore the file, or begin another session"
            )
        last = hashlib.sha256(raw).hexdigest()
        lines.append(line)
    return lines, last
