"""The verb `ptr recover`: restores interrupted recordings up to their last whole chunk."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import yaml

from ptr_common.arguments import VerbParser
from ptr_common.errors import PtrError
from ptr_common.progress import progress

from .bag_writer import PARTIAL, BagWriter, RecordingError, Topic, mcap_name

RECOVERING = "recovering"
"""Suffix of the hidden folder in which a bag is restored."""


def main(argv: list[str] | None = None) -> int:
    """Restore interrupted recordings up to their last whole chunk."""
    parser = VerbParser("recover", main.__doc__)
    parser.add_argument(
        "directory",
        nargs="+",
        type=Path,
        help="folder that holds the bags, not one bag itself",
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
    if not partials:
        print(f"{directory}: nothing to restore")
        return 0

    failures = 0
    for partial in partials:
        try:
            print(restore(partial))
        except (PtrError, OSError) as error:
            failures += 1
            print(f"{partial}: not restored: {error}")
    print(f"{directory}: {len(partials)} recordings handled, {failures} not restored")
    return failures


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
    topics, messages = _salvage(file)
    if not messages:
        shutil.rmtree(partial)
        return f"{partial}: removed, not one whole chunk of it had reached the disk"

    custom = {"outcome": "interrupted", **_custom_data(partial)}
    if _custom_data(directory / name) == custom:
        shutil.rmtree(partial)
        return f"{directory / name}: was restored before"

    writer = BagWriter(directory, name, custom, suffix=RECOVERING)
    try:
        with progress(messages, desc=name, unit="message", leave=False) as bar:
            for channel, log_time_ns, data in bar:
                writer.write(topics[channel], bytes(data), log_time_ns)
        path = writer.finish()
    except BaseException:
        writer.discard()
        raise

    shutil.rmtree(partial)
    duration = (writer.last_ns - writer.first_ns) / 1e9
    return f"{path}: restored {writer.messages} messages, {duration:.1f} s"


def _salvage(file: Path) -> tuple[dict[int, Topic], list[tuple[int, int, memoryview]]]:
    """Read all whole chunks of an unfinished MCAP file.

    Args:
        file: The MCAP file; it may be missing or empty.

    Returns:
        The topics by channel, and channel, log time [ns] and data of each message.
    """
    from ptr_training.bags.mcap_reader import (
        McapFile,  # deferred: recording needs no reader
    )

    if not file.is_file() or not file.stat().st_size:
        return {}, []

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
    return topics, list(
        bag.messages()
    )  # the data are views of the file, so the list is small


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
        document = yaml.safe_load((bag / "metadata.yaml").read_text())
        return dict(document["rosbag2_bagfile_information"]["custom_data"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return {}
