"""Videos through PyAV: the pictures shown at given times, and a file of pictures at a constant rate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
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
"""Fine quality; every second picture is a key frame, because they are read in any order; none waits for the next."""


def import_av() -> ModuleType:
    """Return the module `av`; raises TrainingError saying how to install it."""
    try:
        import av
    except ImportError as error:
        raise TrainingError(
            "mp4 videos need PyAV, which is not installed: pip install av"
        ) from error
    return av


def _converter(layout: str) -> Callable[[Any], Any]:
    """Return a function that converts a frame to another layout of its pixels, in one thread.

    Left alone, PyAV makes a converter for every frame, since version 17 with a thread for
    each processor.
    """
    av = import_av()
    options = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
    return functools.partial(
        av.video.reformatter.VideoReformatter().reformat, format=layout, **options
    )


class VideoPictures(Sequence[np.ndarray]):
    """The pictures of an mp4 file shown at some times, each (H, W, 3) uint8 RGB; decoded when they are walked through.

    Walking through them raises RecordError if the file cannot be read or has no picture at
    one of the times.
    """

    def __init__(self, file: Path, times: Sequence[float], rate: float) -> None:
        """Prepare to read.

        Args:
            file: Video in an mp4 file.
            times: Times [s], ascending.
            rate: Pictures a second; a time may be half a period off.
        """
        self._file = file
        self._times = times
        self._rate = rate

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return VideoPictures(self._file, self._times[index], self._rate)
        return next(iter(VideoPictures(self._file, [self._times[index]], self._rate)))

    def __iter__(self) -> Iterator[np.ndarray]:
        av = import_av()
        half = 0.5 / self._rate
        to_rgb = _converter("rgb24")
        try:
            # nothing but this file: other formats are lists of files, and a path may look
            # like an address
            with av.open(
                str(self._file.resolve()),
                format="mp4",
                options={"protocol_whitelist": "file"},
            ) as container:
                shown = _decoded(container, self._times[0])
                for time in self._times:
                    frame = next(
                        (frame for frame in shown if frame.time > time - half), None
                    )
                    if frame is None or frame.time > time + half:
                        raise RecordError(
                            f"{self._file.name} has no picture at {time:.2f} s; it is truncated or belongs elsewhere"
                        )
                    yield to_rgb(frame).to_ndarray()
        except av.error.FileNotFoundError as error:
            raise RecordError(f"{self._file.name} does not exist") from error
        except av.error.FFmpegError as error:
            raise RecordError(
                f"{self._file.name} cannot be read as a video: {error}"
            ) from error


def _decoded(container: Any, start: float) -> Iterator[Any]:
    """Yield the frames from the key frame at or before a time [s] on."""
    if not container.streams.video:
        raise RecordError(f"{Path(container.name).name} holds no video")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # whole episodes are what is done in parallel
    container.seek(max(0, int(start / stream.time_base)), stream=stream)
    for frame in container.decode(stream):
        if frame.width * frame.height > MAX_PIXELS:
            raise RecordError(
                f"{Path(container.name).name} has pictures of {frame.width}x{frame.height}; at most {MAX_PIXELS} pixels"
            )
        if frame.time is not None:
            yield frame


class VideoWriter:
    """Writes pictures of one size into an mp4 file, H.264 with halved colour resolution (lossy)."""

    def __init__(self, file: Path, rate: int, height: int, width: int) -> None:
        av = import_av()
        if height % 2 or width % 2:
            raise TrainingError(
                f"pictures are {width}x{height}; a video needs an even width and height"
            )
        self.size = 0  # bytes so far
        self.pictures = 0
        self._from_array = av.VideoFrame.from_ndarray
        self._to_yuv = _converter("yuv420p")
        self._time_base = Fraction(1, rate)
        self._container = av.open(str(file), "w", options={"movflags": "+faststart"})
        self._container.flags |= (
            av.container.Flags.bitexact.value
        )  # equal pictures, equal bytes
        self._stream = self._container.add_stream(CODEC, rate=rate, options=CODEC_OPTIONS)
        self._stream.height, self._stream.width, self._stream.pix_fmt = (
            height,
            width,
            "yuv420p",
        )

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._container:
            if error is None:
                self._mux(self._stream.encode())  # what the encoder still holds

    def add(self, picture: np.ndarray) -> None:
        """Append one picture, shape (height, width, 3), uint8 RGB."""
        frame = self._to_yuv(
            self._from_array(np.ascontiguousarray(picture), format="rgb24")
        )
        frame.pts, frame.time_base = self.pictures, self._time_base
        self.pictures += 1
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list) -> None:
        for packet in packets:
            self.size += packet.size
            self._container.mux(packet)
