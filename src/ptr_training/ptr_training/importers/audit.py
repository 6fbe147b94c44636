"""The audit of an import: which records become episodes, which do not, and why.

`audit.json` holds an entry for every record, and `audit_text` shows it in a terminal.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptr_common.text_table import text_table
from ptr_training.data.episode import StoreError
from ptr_training.errors import TrainingError

from . import rlds
from .base import Record, RecordStatus, normalise_name

LINES = 20
"""Tasks and left-out records in the text; `audit.json` has all of them."""

Entry = dict[str, Any]
"""What the audit says about one record; `fate` is the value of a RecordStatus."""


def is_used(entry: Entry) -> bool:
    """Return whether a record became an episode of the store."""
    return entry["fate"] == RecordStatus.USED.value


class Ledger:
    """Decides about one record after the other; its memory follows from their entries alone."""

    def __init__(self, skip_bad: bool) -> None:
        """Begin with no record.

        Args:
            skip_bad: Leave damaged records out instead of raising TrainingError.
        """
        self.image_size: list[int] = []  # height and width of all images [pixels]
        self.used = 0
        self._skip_bad = skip_bad
        self._digests: dict[str, str] = {}  # SHA-256 of the episodes used, by id

    def settle(self, place: str, entry: Entry) -> bool:
        """Return whether a record becomes part of the store; if not, its entry says why.

        Args:
            place: Where the record is, for messages.
            entry: Of the record; it is changed if earlier records decide about it.

        Raises:
            TrainingError: If it is bad and bad ones are not to be skipped.
        """
        if is_used(entry):
            self._compare(entry)
        refuse_bad(place, entry, self._skip_bad)
        if not is_used(entry):
            return False
        self.image_size = entry["picture"]
        self._digests[entry["id"]] = entry["sha256"]
        self.used += 1
        return True

    def _compare(self, entry: Entry) -> None:
        """Change the entry of a record that repeats or does not suit an earlier one."""
        digest = self._digests.get(entry["id"])
        height, width = entry["picture"]
        if digest == entry["sha256"]:
            entry["fate"] = RecordStatus.DUPLICATE.value
        elif digest is not None:
            entry["fate"] = RecordStatus.BAD.value
            entry["reason"] = f"another record is {entry['id']} too, with other content"
        elif self.image_size and self.image_size != [height, width]:
            entry["fate"] = RecordStatus.BAD.value
            entry["reason"] = (
                f"its images have {width}x{height} pixels, those before "
                f"{self.image_size[1]}x{self.image_size[0]}; import them into another store"
            )


def refuse_bad(place: str, entry: Entry, skip_bad: bool) -> None:
    """Raise TrainingError if a record is damaged and such records are not to be left out."""
    if entry["fate"] == RecordStatus.BAD.value and not skip_bad:
        raise TrainingError(
            f"{place}: {entry['reason']}; --skip-bad leaves damaged records out"
        )


def check_unchanged(
    records: Sequence[Record], entries: Sequence[Entry], partial: Path
) -> None:
    """Check that records are those that an earlier run began with.

    Args:
        records: All records.
        entries: Of the first of them, from the earlier run.
        partial: Folder that the earlier run left behind, for messages.

    Raises:
        StoreError: If the first records are others now.
    """
    for number, entry in enumerate(entries):
        before = _record_text(entry["record"], entry["bytes"])
        now = "missing"
        if number < len(records):
            now = _record_text(records[number].label, records[number].size)
        if now != before:
            raise StoreError(
                f"{partial} was begun with record {number} being {before}, now it "
                f"is {now}; restore the sources to go on, or remove that folder to start "
                "over"
            )


def place_of(record: Record) -> str:
    """Return where a record is, for messages."""
    return f"{record.path}: record {record.number}"


def _record_text(label: str, size: int) -> str:
    """Return a record for messages, with its size [bytes] if that is known."""
    return f"{label} ({size} bytes)" if size else label


def summarise(entries: Sequence[Entry], total: int) -> dict[str, Any]:
    """Return the counts of an audit, and its entries.

    Args:
        entries: Of the records that were read.
        total: Number of records in the sources.

    Raises:
        TrainingError: If no record was used.
    """
    statuses = Counter(entry["fate"] for entry in entries)
    if total > len(entries):
        statuses[RecordStatus.OVER_LIMIT.value] = total - len(entries)
    used = [entry for entry in entries if is_used(entry)]
    if not used:
        raise TrainingError(
            f"nothing to import: of {total} records, {_counts_text(statuses)}; "
            "change the options or the sources"
        )

    notes: Counter[str] = Counter()
    for entry in used:
        notes.update(entry["notes"])

    return {
        "total": total,
        "fates": dict(statuses.most_common()),
        "notes": dict(notes.most_common()),
        "steps": sum(entry["steps"] for entry in used),
        "clipped": sum(entry["clipped"] for entry in used),
        "records": list(entries),
    }


def source_digests(
    sources: Sequence[tuple[str, int]], entries: Sequence[Entry]
) -> tuple[dict[str, Any], ...]:
    """Return name, SHA-256 and number of episodes of each source.

    The digest is that of the digests of the records that were used, in their order.

    Args:
        sources: Name and number of records of each, in the order in which they were read.
        entries: Of all records that were read.
    """
    described = []
    start = 0
    for name, count in sources:
        stop = start + count
        digests = [entry["sha256"] for entry in entries[start:stop] if is_used(entry)]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        described.append({"name": name, "sha256": digest, "episodes": len(digests)})
        start = stop

    return tuple(described)


def source_name(path: Path, version: int = 0) -> str:
    """Return the last part of a path, or the last two where it is but a version.

    Args:
        path: Of a source.
        version: That was read of a table that keeps several, to be named as well; 0: none.
    """
    parts = path.resolve().parts[-2:]
    has_letters = any(map(str.isalpha, parts[-1]))
    name = parts[-1] if has_letters else "/".join(parts)  # bridge_dataset/1.0.0
    return f"{name.removesuffix(f'@{version}')}@{version}" if version else name


# Text
# ---------------------------------------------------------------------------------------


def audit_text(audit: Mapping[str, Any]) -> str:
    """Return an audit as text for a terminal: tasks, notes, left-out records and hints."""
    used = [entry for entry in audit["records"] if is_used(entry)]
    lines = [
        _task_table(audit, used),
        f"\n{audit['total']} records: {_counts_text(audit['fates'])}",
    ]
    if audit["notes"]:
        rows = [(count, note) for note, count in audit["notes"].items()]
        lines.append(text_table(("episodes", "note"), rows, align="rl"))
    lines += _reason_lines(audit["records"])
    lines += _hints(audit, used)
    return "\n".join(lines)


def _task_table(audit: Mapping[str, Any], used: Iterable[Entry]) -> str:
    """Return the table of tasks, those with most episodes first, and a last row of sums."""
    episodes: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for entry in used:
        episodes[entry["task"]] += 1
        steps[entry["task"]] += entry["steps"]

    rows: list[tuple[object, object, str]] = []
    for task, count in episodes.most_common(LINES):
        rows.append((count, steps[task], task))

    if len(episodes) > LINES:
        rows.append(("", "", f"… and {len(episodes) - LINES} more tasks"))
    clipped = f"in all, {audit['clipped']} steps clipped to the action's bounds"
    rows.append((sum(episodes.values()), audit["steps"], clipped))
    return text_table(("episodes", "steps", "task"), rows, align="rrl")


def _reason_lines(entries: Iterable[Entry]) -> list[str]:
    """Return a line for each record that was left out for a reason of its own."""
    lines = []
    for entry in entries:
        if "reason" in entry:
            lines.append(f"{entry['record']} is {entry['fate']}: {entry['reason']}")
    if len(lines) > LINES:
        return [*lines[:LINES], f"… and {len(lines) - LINES} more, see audit.json"]
    return lines


def _hints(audit: Mapping[str, Any], used: Sequence[Entry]) -> list[str]:
    """Return what the user may not have meant, and the option that changes it."""
    hints = []
    cut_off = audit["notes"].get(rlds.CUT_OFF)
    if cut_off:
        hints.append(
            f"{cut_off} episodes may have been cut off before their end; "
            f"as {audit['outcome']} their last steps are labelled all the same (see --outcome)"
        )

    instructions = _instructions(used)
    several = {}
    for task, texts in instructions.items():
        if len(texts) > 1:
            several[task] = len(texts)

    if several and audit["task_from"] == "folder":
        most = max(several, key=several.__getitem__)
        hints.append(
            f"{len(several)} of the tasks have several instructions "
            f"({most!r}: {several[most]}): --task-from language separates them"
        )

    unknown = sorted(audit["task_map"].keys() - instructions.keys())
    if unknown:
        hints.append(f"names of --task-map that no task has: {', '.join(unknown)}")
    return hints


def _instructions(used: Iterable[Entry]) -> dict[str, set[str]]:
    """Return the first instructions of the episodes of each task, as the source named it."""
    instructions: dict[str, set[str]] = defaultdict(set)
    for entry in used:
        texts = instructions[normalise_name(entry["named"])]
        texts.update(map(normalise_name, entry["language"][:1]))
    return instructions


def _counts_text(counts: Mapping[str, int]) -> str:
    """Return the counts of the statuses."""
    return ", ".join(f"{count} {status}" for status, count in counts.items())
