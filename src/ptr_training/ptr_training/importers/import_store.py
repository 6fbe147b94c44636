"""Prior data of other formats into an episode store, with an audit.

What happens to the data of an episode is described in to_episode.py, the particularities
of a format in its module, and how an import goes on after a stop in resumable_writer.py.

The metadata of the store (`card.yaml`) are what the user chose; where the user chose
nothing, what the sources contain (a data set of `ptr convert` does); else `DEFAULT_INFO`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ptr_common.errors import PtrError
from ptr_training.data.episode import DatasetInfo, EpisodeWriter

from .audit import (
    Ledger,
    check_unchanged,
    place_of,
    source_digests,
    source_name,
    summarise,
)
from .base import ImportOptions, Record
from .formats import FORMATS, RecordReader, Result
from .resumable_writer import ResumableWriter

IMAGE_SIZES = (8, 1024)
"""Smallest and largest height and width of stored images [pixels]."""

DEFAULT_INFO = DatasetInfo(
    name="",
    camera="over_shoulder",  # as the simulated one, so that stores can be mixed
    camera_width=0,  # becomes that of the images
    camera_height=0,
    image_height=128,
    image_width=128,
    command="requested",
)
"""Metadata of an imported store, where neither the user nor the source has any."""


@dataclass(frozen=True)
class Request:
    """What is to be imported, and the store to make of it."""

    format: str  # key of FORMATS
    sources: tuple[Path, ...]
    out: Path
    options: ImportOptions = field(default_factory=ImportOptions)
    info: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `DatasetInfo` that the user chose."""
    limit: int = 0  # episodes; 0: all
    skip_bad: bool = False
    workers: int = 0  # processes; 0: as many as pay off

    def origin(self, info: DatasetInfo) -> dict[str, Any]:
        """Return everything that decides the contents of the store, except the records."""
        return {
            "format": self.format,
            "limit": self.limit,
            "image_size": [info.image_height, info.image_width],
            "last_n": info.last_n,
            **asdict(self.options),
        }


@dataclass(frozen=True)
class Found:
    """What the sources of a request hold."""

    records: tuple[Record, ...]
    sources: tuple[tuple[str, int], ...]  # name and number of records of each, in order
    info: DatasetInfo  # as far as it is known before a record is read


def import_store(request: Request) -> dict[str, Any]:
    """Write a new store of prior data.

    Equal sources give equal bytes, with any number of workers, and also when the import
    was stopped and continued.

    Returns:
        The audit, as in `audit.json`.

    Raises:
        PtrError: If there is nothing to import, a record is damaged, or the store exists.
    """
    found = find_records(request)
    origin = request.origin(found.info)
    with ResumableWriter(request.out, found.info, origin) as writer:
        ledger = Ledger(request.skip_bad)
        check_unchanged(found.records, writer.kept, writer.partial)
        for record, entry in zip(found.records, writer.kept, strict=False):
            ledger.settle(place_of(record), entry)
        _read_into(writer, ledger, request, found)
        audit = origin | summarise(writer.kept, len(found.records))
        complete(writer, audit, ledger.image_size, found.sources)

    return audit


def find_records(request: Request) -> Found:
    """Return the records that a request asks for; raises PtrError if there are none."""
    records: list[Record] = []
    sources = []
    for path in request.sources:
        members = FORMATS[request.format].find([path])
        records += members
        version = members[0].version if members else 0
        sources.append((source_name(path, version), len(members)))
    return Found(tuple(records), tuple(sources), _dataset_info(request, records))


def _read_into(
    writer: ResumableWriter, ledger: Ledger, request: Request, found: Found
) -> None:
    """Read the records that an earlier run has not read, until the limit is reached."""
    with read_records(request, found.info, found.records[len(writer.kept) :]) as bar:
        for record, (entry, episode) in bar:
            if request.limit and ledger.used >= request.limit:
                return
            if ledger.settle(place_of(record), entry) and episode is not None:
                writer.add(episode)
            writer.keep(entry)
            bar.set_postfix(used=ledger.used, refresh=False)


@contextlib.contextmanager
def read_records(
    request: Request, info: DatasetInfo, records: Sequence[Record]
) -> Iterator[tqdm[tuple[Record, Result]]]:
    """Provide a progress bar that yields each record with its result, in their order."""
    size = (info.image_height, info.image_width)
    reader = RecordReader(request.format, request.options, size, request.workers)
    with contextlib.closing(reader.read_all(records)) as results:
        pairs = zip(records, results, strict=True)
        with tqdm(pairs, total=len(records), unit="record", desc="import") as bar:
            yield bar


def complete(
    writer: EpisodeWriter,
    audit: Mapping[str, Any],
    image_size: Sequence[int],
    sources: Sequence[tuple[str, int]],
) -> None:
    """Give a store its audit and what its card says of the sources.

    Args:
        writer: Of the store, with all episodes in it.
        audit: The audit.
        image_size: Height and width of the images in the sources [pixels].
        sources: Name and number of records of each, in the order of the audit's records.
    """
    info = writer.info
    if not info.camera_width:
        height, width = image_size
        info = replace(info, camera_height=height, camera_width=width)
    digests = source_digests(sources, audit["records"])
    writer.info = replace(info, sources=(*info.sources, *digests))
    (writer.folder / "audit.json").write_text(json.dumps(audit, indent=1) + "\n")


def _dataset_info(request: Request, records: Sequence[Record]) -> DatasetInfo:
    """Return the metadata of the store, as far as they are known before it is made."""
    from_sources = FORMATS[request.format].info(records, request.options)
    chosen = {**from_sources, **request.info, "name": request.out.name}
    info = replace(DEFAULT_INFO, **chosen)
    smallest, largest = IMAGE_SIZES
    for size in (info.image_height, info.image_width):
        if not isinstance(size, int) or not smallest <= size <= largest:
            raise PtrError(
                f"stored images of {info.image_width}x{info.image_height} pixels; allowed "
                f"are {smallest} to {largest} in height and width, see --image-size"
            )
    return info
