"""The stage `decode` of bags to episodes: images and arm states of all steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ptr_common.images import EncodingError, ImageError, decode, resize_area

from .alignment import Steps
from .errors import BagError
from .streams import MessageStatus
from .topics import BagStreams

IMAGES_PER_TURN = 16
"""Images that one thread decodes before the next are read; bounds the memory of compressed bags."""

_NeededImage = tuple[int, bytes | memoryview, list[np.ndarray]]
"""Index in the stream, message, and the rows (H, W, 3) that the resized image is written to."""


@dataclass(frozen=True)
class Observations:
    """What the steps of all episodes of a bag observe."""

    frames: tuple[np.ndarray, ...]  # of each episode, (T + 1, H, W, 3) uint8; () if refused
    proprio: Mapping[int, np.ndarray]  # (7,) by index of the arm state
    image_sizes: Mapping[tuple[int, int], int]  # (width, height) -> first message of it
    complete: bool  # no message that a step observes turned out to be unreadable


NO_OBSERVATIONS = Observations((), {}, {}, complete=False)
"""Before anything is decoded."""


def decode_observations(
    streams: BagStreams,
    steps: Sequence[Steps | None],
    earlier: Observations,
    *,
    image_size: int,
    threads: int,
) -> Observations:
    """Decode the arm states and the images that steps observe.

    A message that cannot be read gets that as its status; the result is then not complete,
    and the steps must be aligned again without the message.

    Args:
        streams: The messages of the bag.
        steps: Steps of each episode, None for a refused one.
        earlier: Result for earlier steps of the same bag; its arm states are not decoded again.
        image_size: Height and width of the frames [pixels].
        threads: How many threads decode images.

    Raises:
        BagError: If the images have an encoding that is not supported.
    """
    used = [part for part in steps if part is not None]
    proprio, complete = _decode_states(streams, used, earlier.proprio)
    sizes = dict(earlier.image_sizes)
    if not complete:
        return Observations((), proprio, sizes, complete=False)
    frames, rows = _allocate(steps, image_size)
    _decode_images(streams, rows, sizes, threads)
    status = streams.images.status[list(rows)]
    complete = not (status == MessageStatus.UNDECODABLE).any()
    return Observations(frames, proprio, sizes, complete)


def _decode_states(
    streams: BagStreams, steps: Iterable[Steps], earlier: Mapping[int, np.ndarray]
) -> tuple[dict[int, np.ndarray], bool]:
    """Return the arm state of every step, shape (7,) by index, and whether all could be read.

    Args:
        streams: The messages of the bag.
        steps: Steps of the episodes that are not refused.
        earlier: Arm states that were decoded before, by index.
    """
    proprio = dict(earlier)
    needed: set[int] = set()
    for part in steps:
        needed.update(part.states.tolist())
    complete = True
    for index in needed - proprio.keys():
        state = streams.proprio(index)
        if state is None:
            complete = False
        else:
            proprio[index] = state

    return proprio, complete


def _allocate(
    steps: Sequence[Steps | None], size: int
) -> tuple[tuple[np.ndarray, ...], dict[int, list[np.ndarray]]]:
    """Return empty frames for each episode, and the rows of them that each image belongs in.

    An image has several rows where several steps observe it.

    Args:
        steps: Steps of each episode, None for a refused one.
        size: Height and width of the frames [pixels].
    """
    frames = []
    rows: dict[int, list[np.ndarray]] = {}
    for part in steps:
        count = 0 if part is None else len(part) + 1
        episode_frames = np.empty((count, size, size, 3), np.uint8)
        frames.append(episode_frames)
        if part is None:
            continue
        for row, index in zip(episode_frames, part.images.tolist(), strict=True):
            rows.setdefault(index, []).append(row)

    return tuple(frames), rows


def _decode_images(
    streams: BagStreams,
    rows: Mapping[int, list[np.ndarray]],
    sizes: dict[tuple[int, int], int],
    threads: int,
) -> None:
    """Decode and resize images into their rows, some at a time, in several threads.

    Args:
        streams: The messages of the bag.
        rows: Rows (H, W, 3) that each image belongs in, by index.
        sizes: Gains width and height of the images, with the first message of each size.
        threads: How many threads decode.
    """
    needed = _needed_images(streams, rows)
    with ThreadPoolExecutor(threads) as pool:  # OpenCV releases the interpreter's lock
        while batch := list(itertools.islice(needed, IMAGES_PER_TURN * threads)):
            if threads == 1:
                _decode_some(streams, batch, sizes)
                continue
            futures = []
            for part in range(threads):
                share = batch[part::threads]
                futures.append(pool.submit(_decode_some, streams, share, sizes))
            for future in futures:
                future.result()


def _needed_images(
    streams: BagStreams, rows: Mapping[int, list[np.ndarray]]
) -> Iterator[_NeededImage]:
    """Yield the images that have rows, in the order of the bag."""
    if not rows:
        return
    messages = streams.bag.messages([streams.images.topic])
    for index, (_, _, data) in enumerate(messages):
        if index in rows:
            yield index, data, rows[index]


def _decode_some(
    streams: BagStreams, images: Iterable[_NeededImage], sizes: dict[tuple[int, int], int]
) -> None:
    """Decode and resize images into their rows; damaged ones get that status.

    Args:
        streams: The messages of the bag.
        images: The images and their rows.
        sizes: Gains width and height of the images.

    Raises:
        BagError: If an encoding is not supported; it would be the same for all images.
    """
    for index, data, rows in images:
        try:
            image = decode(data, streams.images.type_name)
        except EncodingError as error:
            raise BagError(
                f"{streams.bag.path}: {streams.images.topic}, message {index}: {error}"
            ) from error
        except ImageError:
            streams.images.status[index] = MessageStatus.UNDECODABLE
            continue
        sizes.setdefault((image.shape[1], image.shape[0]), index)
        small = resize_area(image, rows[0].shape[:2])
        for row in rows:
            row[:] = small
