"""Videos through PyAV: reads the images at given times, writes images at a constant rate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from ptr_common.images import MAX_PIXELS
from ptr_training.errors import TrainingError

from .base import RecordError

CODEC = "libx264"
CODEC_OPTIONS = {"crf": "18", "g": "2", "bf": "0", "rc-lookahead": "0", "threads": "1"}
"""High quality; every second image is a key frame for random access; none needs a later one."""


def import_av() -> ModuleType:
    """Return the module `av`; raises TrainingError with the command that installs it."""
    try:
        import av
    except ImportError as error:
        raise TrainingError(
            "mp4 videos need PyAV, which is not installed: pip install av"
        ) from error
    return av


def _converter(layout: str) -> Callable[[Any], Any]:
    """Return a function that converts a frame to another layout of its pixels, in one thread.

    By default, PyAV makes a converter for every frame, since version 17 with a thread for
    each processor.
    """
    av = import_av()
    major = int(av.__version__.split(".")[0])
    options = {"threads": 1} if major >= 17 else {}
    converter = av.video.reformatter.VideoReformatter()
    return functools.partial(converter.reformat, format=layout, **options)


class VideoImages(Sequence[np.ndarray]):
    """The images of an mp4 file at some times, each (H, W, 3) uint8 RGB.

    They are decoded by an iteration, which raises RecordError if the file cannot be read or
    has no image at one of the times.
    """

    def __init__(self, file: Path, times: Sequence[float], rate: float) -> None:
        """Prepare to read.

        Args:
            file: Video in an mp4 file.
            times: Times [s], ascending.
            rate: Images per second; a time may be half a period off.
        """
        self._file = file
        self._times = times
        self._rate = rate

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._times)

    def __getitem__(self, index: Any) -> Any:
        """Return one image, or those of a slice without decoding them."""
        if isinstance(index, slice):
            return VideoImages(self._file, self._times[index], self._rate)
        return next(iter(VideoImages(self._file, [self._times[index]], self._rate)))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Decode the images in their order."""
        av = import_av()
        try:
            # nothing but this file: other formats are lists of files, and a path may look
            # like an address
            with av.open(
                str(self._file.resolve()),
                format="mp4",
                options={"protocol_whitelist": "file"},
            ) as container:
                yield from self._images_of(container)
        except av.error.FileNotFoundError as error:
            raise RecordError(f"{self._file.name} does not exist") from error
        except av.error.FFmpegError as error:
            raise RecordError(
                f"{self._file.name} cannot be read as a video: {error}"
            ) from error

    def _images_of(self, container: Any) -> Iterator[np.ndarray]:
        """Yield the images of an open file, each (H, W, 3) uint8 RGB."""
        half_period = 0.5 / self._rate
        to_rgb = _converter("rgb24")
        frames = _decoded(container, self._times[0])
        for time in self._times:
            frame = _first_after(frames, time - half_period)
            if frame is None or frame.time > time + half_period:
                raise RecordError(
                    f"{self._file.name} has no image at {time:.2f} s; "
                    "it is truncated or belongs to another data set"
                )
            yield to_rgb(frame).to_ndarray()


def _first_after(frames: Iterator[Any], time: float) -> Any:
    """Return the next frame that is later than a time [s], None if there is none."""
    for frame in frames:
        if frame.time > time:
            return frame
    return None


def _decoded(container: Any, start: float) -> Iterator[Any]:
    """Yield the frames from the key frame at or before a time [s] on."""
    if not container.streams.video:
        raise RecordError(f"{Path(container.name).name} holds no video")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # the work is shared by episodes, not by frames
    container.seek(max(0, int(start / stream.time_base)), stream=stream)
    for frame in container.decode(stream):
        if frame.width * frame.height > MAX_PIXELS:
            raise RecordError(
                f"{Path(container.name).name} has images of {frame.width}x{frame.height}; "
                f"allowed are {MAX_PIXELS} pixels"
            )
        if frame.time is not None:
            yield frame


class VideoWriter:
    """Writes images of one size into an mp4 file, H.264 with halved colour resolution (lossy)."""

    def __init__(
        self,
        file: Path,
        rate: int,
        height: int,
        width: int,
        options: Mapping[str, str] = CODEC_OPTIONS,
    ) -> None:
        """Open a file.

        Args:
            file: To make.
            rate: Images per second.
            height: Of the images [pixels].
            width: Of the images [pixels].
            options: Of the encoder.
        """
        av = import_av()
        if height % 2 or width % 2:
            raise TrainingError(
                f"images are {width}x{height}; a video needs an even width and height"
            )

        self.size = 0  # bytes so far
        self.images = 0  # so far
        self._from_array = av.VideoFrame.from_ndarray
        self._to_yuv = _converter("yuv420p")
        self._time_base = Fraction(1, rate)
        self._container = av.open(str(file), "w", options={"movflags": "+faststart"})
        # equal images give equal bytes
        self._container.flags |= av.container.Flags.bitexact.value
        self._stream = self._container.add_stream(CODEC, rate=rate, options=dict(options))
        self._stream.height = height
        self._stream.width = width
        self._stream.pix_fmt = "yuv420p"

    def __enter__(self) -> VideoWriter:
        """Begin to write."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the file, and close it in any case."""
        with self._container:
            if error is None:
                self._mux(self._stream.encode())  # the rest from the encoder

    def add(self, image: np.ndarray) -> None:
        """Append one image, shape (height, width, 3), uint8 RGB."""
        rgb = self._from_array(np.ascontiguousarray(image), format="rgb24")
        frame = self._to_yuv(rgb)
        frame.pts = self.images
        frame.time_base = self._time_base
        self.images += 1
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list) -> None:
        """Write what the encoder gave."""
        for packet in packets:
            self.size += packet.size
            self._container.mux(packet)
