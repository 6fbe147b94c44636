"""Videos through PyAV: the pictures shown at given times, and a file of pictures at a constant rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType

import numpy as np

from .episodes import TrainingError

CODEC = "libx264"
CODEC_OPTIONS = {"crf": "18", "g": "2", "bf": "0", "rc-lookahead": "0", "threads": "1"}
"""Fine quality; every second picture is a key frame, because they are read in any order; none waits for the next."""


class VideoError(TrainingError):
    """A video cannot be read, has no picture at a time, or cannot hold pictures of a size."""


def import_av() -> ModuleType:
    """Return the module `av`; raises VideoError saying how to install it."""
    try:
        import av
    except ImportError as error:
        raise VideoError("mp4 videos need PyAV, which is not installed: pip install av") from error
    return av


def read_pictures(file: Path, times: Sequence[float], rate: float) -> Iterator[np.ndarray]:
    """Yield the pictures shown at some times.

    Args:
        file: Video in any format that FFmpeg knows.
        times: Times [s], ascending.
        rate: Pictures a second; a time may be half a period off.

    Yields:
        Pictures, shape (H, W, 3), uint8 RGB.

    Raises:
        VideoError: If the file cannot be read or has no picture at one of the times.
    """
    av = import_av()
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise VideoError(f"{file} holds no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # whole episodes are what is done in parallel
            container.seek(max(0, int(times[0] / stream.time_base)), stream=stream)  # the key frame at or before it
            shown = (frame for frame in container.decode(stream) if frame.time is not None)
            for time in times:
                frame = next((frame for frame in shown if frame.time > time - 0.5 / rate), None)
                if frame is None or frame.time > time + 0.5 / rate:
                    raise VideoError(f"{file} has no picture at {time:.2f} s; it is truncated or belongs elsewhere")
                yield frame.to_ndarray(format="rgb24")
    except av.error.FileNotFoundError as error:
        raise VideoError(f"{file} does not exist") from error
    except av.error.FFmpegError as error:
        raise VideoError(f"{file} cannot be read as a video: {error}") from error


class VideoWriter:
    """Writes pictures of one size into an mp4 file, H.264 with halved colour resolution (lossy)."""

    def __init__(self, file: Path, rate: int, height: int, width: int) -> None:
        av = import_av()
        if height % 2 or width % 2:
            raise VideoError(f"pictures are {width}x{height}; a video needs an even width and height")
        self.size = 0  # bytes so far
        self.pictures = 0
        self._from_array = av.VideoFrame.from_ndarray
        self._time_base = Fraction(1, rate)
        self._container = av.open(str(file), "w", options={"movflags": "+faststart"})
        self._container.flags |= av.container.Flags.bitexact.value  # equal pictures, equal bytes
        self._stream = self._container.add_stream(CODEC, rate=rate, options=CODEC_OPTIONS)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._container:
            if error is None:
                self._mux(self._stream.encode())  # what the encoder still holds

    def add(self, picture: np.ndarray) -> None:
        """Append one picture, shape (height, width, 3), uint8 RGB."""
        frame = self._from_array(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self.pictures, self._time_base
        self.pictures += 1
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list) -> None:
        for packet in packets:
            self.size += packet.size
            self._container.mux(packet)
