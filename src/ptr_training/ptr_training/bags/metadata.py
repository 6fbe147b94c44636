"""The files of a recording: those that `metadata.yaml` names, and those that it should."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ptr_common.documents import parse_yaml
from ptr_common.files import is_lfs_pointer

from .errors import BagError
from .unpacking import check_unpacked_size

METADATA = "metadata.yaml"
STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}
"""Storage identifier by the suffix of a file."""


@dataclass(frozen=True)
class Metadata:
    """Where the messages of a recording are."""

    storage: str  # mcap or sqlite3
    files: tuple[Path, ...]  # in the order of recording
    compression: str  # "", "message" or "file"
    custom: dict[str, str]


def read_metadata(path: Path) -> Metadata:
    """Return the files of a recording; each exists, and no other holds messages of it.

    Args:
        path: Folder with `metadata.yaml`, or a single .mcap or .db3 file.

    Raises:
        BagError: If the bag or a file of it is missing, unfinished, damaged or not read
            whole.
    """
    if not path.exists():
        raise BagError(f"{path} does not exist")
    if path.is_file():
        metadata = _of_single_file(path)
    else:
        metadata = _of_folder(path)
        _check_unnamed(path, metadata)
    for file in metadata.files:
        _check_whole(file)
        if metadata.compression == "file":
            check_unpacked_size(file)
    return metadata


def storage_files(folder: Path) -> list[Path]:
    """Return the files of a folder that hold messages, by name; hidden ones are none."""
    files = []
    for file in sorted(folder.glob("[!.]*")):
        name = file.name.removesuffix(".zstd")
        if Path(name).suffix in STORAGES and file.is_file():
            files.append(file)
    return files


def custom_data(record: str, path: Path) -> dict[str, str]:
    """Return the custom data in the metadata that rosbag2 stores in its files.

    Args:
        record: YAML document; empty for none.
        path: File, for the message of an error.

    Raises:
        BagError: If it is damaged.
    """
    try:
        described = parse_yaml(record) or {}
        return _texts(described.get("custom_data"))
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise BagError(f"{path}: damaged metadata record: {error}") from error


def _of_single_file(path: Path) -> Metadata:
    """Return the metadata of a recording without `metadata.yaml`."""
    if path.suffix == ".bag":
        raise BagError(
            f"{path} is a ROS 1 bag; convert it first: "
            f"rosbags-convert --src {path} --dst {path.with_suffix('')}"
        )
    if path.suffix not in STORAGES:
        raise BagError(
            f"{path} is not a bag: expected a folder with metadata.yaml, "
            "a .mcap or a .db3 file"
        )
    return Metadata(STORAGES[path.suffix], (path,), "", {})


def _of_folder(path: Path) -> Metadata:
    """Return what `metadata.yaml` says, with files that exist."""
    file = path / METADATA
    if path.name.endswith(".partial"):
        raise BagError(
            f"{path} is an interrupted recording; `ptr recover {path.parent}` restores it"
        )
    if not file.is_file():
        raise BagError(
            f"{path} is not a bag: it has no metadata.yaml "
            f"(`ros2 bag reindex {path}` makes one)"
        )
    _check_whole(file)
    try:
        described = parse_yaml(file.read_bytes())["rosbag2_bagfile_information"]
        storage = described["storage_identifier"]
        names = described["relative_file_paths"]
        compression = described.get("compression_mode") or ""
        custom = _texts(described.get("custom_data"))
        if not names or not isinstance(names, list):
            raise TypeError(
                f"relative_file_paths is {names!r:.80}, expected names of files"
            )
        for text in (storage, compression, *names):
            if not isinstance(text, str):
                raise TypeError(f"{text!r:.80} is no text")
            if len(Path(text).name) > 255:
                raise TypeError(f"{text!r:.80}… is longer than the name of a file can be")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BagError(f"{file} cannot be read: {error!r}") from error

    compression = compression.lower().replace("none", "")
    if storage not in STORAGES.values() or compression not in ("", "message", "file"):
        raise BagError(
            f"{file}: storage {storage!r} with compression_mode {compression!r}; readable "
            "are mcap and sqlite3, with none, message or file"
        )
    files = tuple(path / Path(name).name for name in names)
    for each in files:
        if not each.is_file():
            raise BagError(
                f"{each} does not exist, but {file} names it; copy it there, or have "
                f"`ros2 bag reindex {path}` leave it out"
            )
    return Metadata(storage, files, compression, custom)


def _texts(custom: Any) -> dict[str, str]:
    """Return custom data as texts; raises TypeError if it is no table."""
    if not isinstance(custom or {}, dict):
        raise TypeError(f"custom_data is {custom!r:.80}, expected names and texts")
    return {str(key): str(value) for key, value in (custom or {}).items()}


def _check_unnamed(path: Path, metadata: Metadata) -> None:
    """Raise BagError if a folder holds a file of messages that `metadata.yaml` does not name."""
    named = set(metadata.files)
    if metadata.compression == "file":
        # what an unpacking left beside it
        named |= {file.with_suffix("") for file in metadata.files}
    for file in storage_files(path):
        if file not in named:
            raise BagError(
                f"{file} is not named by {path / METADATA}, so its messages would be lost: "
                f"`ros2 bag reindex {path}` adds it, or move it away"
            )


def _check_whole(file: Path) -> None:
    """Raise BagError if a file is a pointer to its contents, or has a part elsewhere."""
    if is_lfs_pointer(file):
        raise BagError(
            f"{file} is a Git LFS pointer, not the file itself; `git lfs pull` fetches it"
        )
    for suffix in ("-wal", "-journal"):
        beside = file.with_name(file.name + suffix)
        if beside.is_file() and beside.stat().st_size:
            raise BagError(
                f"{beside} was not merged into {file.name}, so messages would be lost: the "
                "recording was interrupted; "
                f"`sqlite3 {file} 'PRAGMA wal_checkpoint(TRUNCATE)'` merges it"
            )
