"""The verb `ptr recover`: restores interrupted recordings up to their last whole chunk.

Recordings of ours are `.<name>.partial` and become `<name>`. Those of `ros2 bag record` into
MCAP are folders without `metadata.yaml`; they stay, and their restored copy is
`<name>-restored` beside them.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
from pathlib import Path

import yaml
from mcap.writer import MCAP0_MAGIC

from ptr_common.arguments import VerbParser
from ptr_common.documents import parse_yaml
from ptr_common.errors import PtrError
from ptr_common.progress import progress

from .bag_writer import PARTIAL, BagWriter, RecordingError, Topic, mcap_name

RECOVERING = "recovering"
"""Suffix of the hidden folder in which a bag is restored."""

RESTORED = "-restored"
"""Added to the name of a recording of others for that of its restored copy."""

Messages = list[tuple[Topic, int, memoryview]]
"""Topic, log time [ns] and data of each message of a recording."""


def main(argv: list[str] | None = None) -> int:
    """Restore interrupted recordings up to their last whole chunk."""
    parser = VerbParser("recover", main.__doc__)
    parser.add_argument(
        "directory",
        nargs="+",
        type=Path,
        help="folder that holds the bags; of `ros2 bag record` also one recording itself",
    )
    directories = parser.parse_args(argv).directory
    failures = 0
    for directory in directories:
        failures += _recover_folder(directory)
    return 2 if failures else 0


def _recover_folder(directory: Path) -> int:
    """Restore the recordings in a folder and print a line for each.

    Args:
        directory: Folder that holds the bags.

    Returns:
        The number of recordings that could not be restored.

    Raises:
        RecordingError: If there is no such folder.
    """
    if not directory.is_dir():
        raise RecordingError(
            f"{directory} is not a folder; give the folder that the recorder writes into"
        )
    partials = sorted(directory.glob(f".*.{PARTIAL}"))
    found = partials + _killed_in(directory)
    if not found:
        print(f"{directory}: nothing to restore")
        return 0

    failures = 0
    for recording in found:
        try:
            print(restore(recording) if recording in partials else restore_plain(recording))
        except (PtrError, OSError) as error:
            failures += 1
            print(f"{recording}: not restored: {error}")
    print(f"{directory}: {len(found)} recordings handled, {failures} not restored")
    return failures


def _killed_in(directory: Path) -> list[Path]:
    """Return the folders, or the folder itself, that hold an MCAP file without end, and no bag.

    Where every file has its end, `ros2 bag reindex` makes the missing metadata.
    """
    killed = []
    for folder in [directory, *sorted(directory.glob("[!.]*/"))]:
        is_bag = (folder / "metadata.yaml").exists() or any(folder.glob("*/metadata.yaml"))
        if not is_bag and not all(map(_has_end, folder.glob("[!.]*.mcap"))):
            killed.append(folder)
    return killed


def _has_end(file: Path) -> bool:
    """Return whether an MCAP file ends as one that was finished."""
    with file.open("rb") as content:
        # it begins with the same bytes
        content.seek(max(len(MCAP0_MAGIC), file.stat().st_size - len(MCAP0_MAGIC)))
        return content.read() == MCAP0_MAGIC


def restore(partial: Path) -> str:
    """Turn one interrupted recording into a bag; a second call changes nothing.

    The outcome is `interrupted`, unless the episode had ended and only the bag's name was
    missing.

    Args:
        partial: Folder `.<name>.partial` that a writer has left behind.

    Returns:
        What was done, as a line for the user.

    Raises:
        RecordingError: If another bag has the name, or the rest cannot be written.
    """
    name = partial.name[1 : -len(f".{PARTIAL}")]
    directory = partial.parent
    file = partial / mcap_name(name)

    if not _is_abandoned(file):
        return f"{partial}: left alone, it is still being recorded"

    # An earlier restoration may have been killed.
    shutil.rmtree(directory / f".{name}.{RECOVERING}", ignore_errors=True)
    messages = _salvage(file)
    if not messages:
        shutil.rmtree(partial)
        return f"{partial}: removed, not one whole chunk of it had reached the disk"

    custom = {"outcome": "interrupted", **_custom_data(partial)}
    if _custom_data(directory / name) == custom:
        shutil.rmtree(partial)
        return f"{directory / name}: was restored before"

    line = _write(directory, name, custom, messages)
    shutil.rmtree(partial)
    return line


def restore_plain(folder: Path) -> str:
    """Copy what can be read of a killed recording of `ros2 bag record` into a bag beside it.

    Args:
        folder: Its MCAP files, without `metadata.yaml`.

    Returns:
        What was done, as a line for the user.

    Raises:
        RecordingError: If nothing can be read, or the copy cannot be written.
    """
    files = sorted(folder.glob("[!.]*.mcap"), key=_number)
    if any(map(_is_open, files)):
        return f"{folder}: left alone, it is still being recorded"
    directory, name = folder.absolute().parent, f"{folder.absolute().name}{RESTORED}"
    if (directory / name).exists():
        return f"{directory / name}: was restored before"
    shutil.rmtree(directory / f".{name}.{RECOVERING}", ignore_errors=True)
    messages = [message for file in files for message in _salvage(file)]
    if not messages:
        raise RecordingError("not one whole chunk of it had reached the disk")
    return f"{_write(directory, name, {}, messages)}; {folder} stays as it is"


def _number(file: Path) -> tuple[int, str]:
    """Return the number of a file among those of its recording, and its name."""
    match = re.search(r"_(\d+)$", file.stem)
    return (int(match[1]) if match else 0, file.name)


def _is_open(file: Path) -> bool:
    """Return whether a process of this computer has the file open, as far as we may see."""
    for opened in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if opened.samefile(file):
                return True
    return False


def _write(directory: Path, name: str, custom: dict[str, str], messages: Messages) -> str:
    """Write messages as a bag and return a line about it.

    Args:
        directory: Folder that holds the bag.
        name: Its name.
        custom: Its custom data.
        messages: At least one.
    """
    writer = BagWriter(directory, name, custom, suffix=RECOVERING)
    try:
        with progress(messages, desc=name, unit="message", leave=False) as bar:
            for topic, log_time_ns, data in bar:
                writer.write(topic, bytes(data), log_time_ns)
        path = writer.finish()
    except BaseException:
        writer.discard()
        raise
    duration = (writer.last_ns - writer.first_ns) / 1e9
    return f"{path}: restored {writer.messages} messages, {duration:.1f} s"


def _salvage(file: Path) -> Messages:
    """Return the messages of all whole chunks of an unfinished MCAP file.

    Args:
        file: The MCAP file; it may be missing or empty.
    """
    from ptr_training.bags.mcap_reader import (
        McapFile,  # deferred: recording needs no reader
    )

    if not file.is_file() or not file.stat().st_size:
        return []

    bag = McapFile(file, salvage=True)
    topics = {}
    for number, channel in bag.channels.items():
        topics[number] = Topic(
            channel.topic,
            channel.type_name,
            channel.definition,
            channel.metadata.get("topic_type_hash", ""),
            channel.metadata.get("offered_qos_profiles", ""),
        )
    # the data are views of the file, so the list is small
    return [(topics[channel], stamp, data) for channel, stamp, data in bag.messages()]


def _is_abandoned(file: Path) -> bool:
    """Return whether no living process writes the file."""
    if not file.is_file():
        return True
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _custom_data(bag: Path) -> dict[str, str]:
    """Return the custom data of a bag or recording; empty if it has no readable metadata."""
    try:
        document = parse_yaml((bag / "metadata.yaml").read_bytes())
        return dict(document["rosbag2_bagfile_information"]["custom_data"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return {}
