"""Writes timelines as a Rerun file with a blueprint; `rerun-sdk` is optional.

One recording holds all of them: they follow one another on the timeline `time`, a second apart,
and the log of events says where each begins. Images are JPEG, as large as the camera's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from ptr_common.action_space import ACTION_NAMES, PROPRIO_NAMES
from ptr_common.files import atomic_file

from .timeline import Images, Series, Timeline, ViewError

TIME = "time"
"""Name of the timeline [s]."""

PAUSE = 1.0
"""Time between two episodes [s]."""

QUALITY = 90
"""Of the JPEG images."""

BATCH = 64
"""Images that are encoded at a time."""


def import_rerun() -> ModuleType:
    """Return the module `rerun`.

    Raises:
        ViewError: If it is not installed; the message has the command that installs it.
    """
    try:
        import rerun
    except ImportError as error:
        raise ViewError(
            f"a Rerun file needs the Python package rerun-sdk ({error}): "
            "pip install -r requirements/optional/rerun.txt"
        ) from error
    return rerun


def write_rerun(path: Path, timelines: Iterable[Timeline]) -> int:
    """Write timelines into a file, which appears only once complete.

    Args:
        path: File to make; an older one is replaced.
        timelines: One or more; each is written before the next is asked for.

    Returns:
        The number of timelines.

    Raises:
        ViewError: If rerun-sdk is not installed, there is no timeline, or an image cannot be
            decoded.
    """
    rerun = import_rerun()
    cameras: list[str] = []
    with atomic_file(path) as temporary:
        stream = rerun.RecordingStream("ptr_view")
        try:
            stream.save(str(temporary))
            count, start = 0, 0.0
            for timeline in timelines:
                writer = _Writer(rerun, stream, start - _first(timeline))
                writer.write(timeline)
                for camera in timeline.cameras:
                    if camera.name not in cameras:
                        cameras.append(camera.name)
                start += _last(timeline) - _first(timeline) + PAUSE
                count += 1
            if not count:
                raise ViewError(f"nothing to show in {path}: no episode")
            stream.send_blueprint(blueprint(cameras))
            stream.flush()
        finally:
            stream.disconnect()
    return count


def blueprint(cameras: Sequence[str]) -> Any:
    """Return the layout of the viewer: images and events left, curves right."""
    import_rerun()
    import rerun.blueprint as layout

    images = []
    for camera in cameras:
        images.append(layout.Spatial2DView(origin=f"camera/{camera}", name=camera))
    curves = []
    for origin, name in (
        ("q", "Q of the action"),
        ("translation", "translation [m a step]: requested, executed"),
        ("rotation", "rotation [rad a step]: requested, executed"),
        ("gripper", "gripper (0 closed, 1 open)"),
        ("arm", "clipped commands, holds"),
        ("pose", "measured pose [m, rad]"),
    ):
        curves.append(layout.TimeSeriesView(origin=origin, name=name))
    left = [
        layout.Grid(*images, name="cameras"),
        layout.TextLogView(origin="events", name="events"),
    ]
    return layout.Blueprint(
        layout.Horizontal(
            layout.Vertical(*left, row_shares=[3, 1]),
            layout.Vertical(*curves, row_shares=[2, 2, 2, 1, 1, 1]),
            column_shares=[1, 1],
        ),
        layout.TimePanel(timeline=TIME, state="expanded"),
        auto_views=False,
        collapse_panels=True,
    )


def _times(timeline: Timeline) -> np.ndarray:
    """Return every time of a timeline [s]; 0 for one without any."""
    series = (timeline.requested, timeline.executed, timeline.proprio, timeline.q)
    times = [np.zeros(1), timeline.clips, *(part.times for part in series)]
    times += [camera.times for camera in timeline.cameras]
    times.append(np.array([mark.time for mark in timeline.marks]))
    return np.concatenate(times)


def _first(timeline: Timeline) -> float:
    return float(_times(timeline).min())


def _last(timeline: Timeline) -> float:
    return float(_times(timeline).max())


class _Writer:
    """Writes one timeline.

    Args:
        rerun: The module.
        stream: The recording.
        offset: Added to its times [s].
    """

    def __init__(self, rerun: Any, stream: Any, offset: float) -> None:
        self._rerun = rerun
        self._stream = stream
        self._offset = offset

    def write(self, timeline: Timeline) -> None:
        """Write images, curves and events."""
        for camera in timeline.cameras:
            self._images(camera)
        for name, series in (
            ("requested", timeline.requested),
            ("executed", timeline.executed),
        ):
            for column, action in enumerate(ACTION_NAMES):
                room = "translation" if column < 3 else "rotation"
                path = f"{room}/{action}_{name}" if column < 6 else f"gripper/{name}"
                self._scalars(path, series, column)
        for column, dimension in enumerate(PROPRIO_NAMES):
            path = f"pose/{dimension}" if column < 6 else "gripper/measured"
            self._scalars(path, timeline.proprio, column)
        for column in range(2):
            self._scalars(f"q/Q{column + 1}", timeline.q, column)
        counted = np.arange(1.0, len(timeline.clips) + 1)[:, None]
        self._scalars("arm/clipped", Series(timeline.clips, counted), 0)
        self._holds(timeline)
        self._events(timeline)

    def _index(self, times: Sequence[float] | np.ndarray) -> list[Any]:
        """Return the column of some times [s]."""
        shifted = (np.asarray(times, float) + self._offset).tolist()
        return [self._rerun.TimeColumn(TIME, duration=shifted)]

    def _scalars(self, path: str, series: Series, column: int) -> None:
        """Write a column of a series, without what is not finite."""
        values = series.values[:, column].astype(float)
        finite = np.isfinite(values)
        if finite.any():
            columns = self._rerun.Scalars.columns(scalars=values[finite])
            self._stream.send_columns(path, self._index(series.times[finite]), columns)

    def _images(self, camera: Images) -> None:
        """Write the images of a camera."""
        blobs: list[bytes] = []
        first = 0
        for image in camera.read(range(len(camera.times))):
            ok, data = cv2.imencode(
                ".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            )
            if not ok:
                raise ViewError(f"an image of {camera.name} could not be encoded as JPEG")
            blobs.append(data.tobytes())
            if len(blobs) == BATCH:
                self._blobs(camera, first, blobs)
                first, blobs = first + len(blobs), []
        if blobs:
            self._blobs(camera, first, blobs)

    def _blobs(self, camera: Images, first: int, blobs: list[bytes]) -> None:
        """Write encoded images, from number `first` on."""
        times = camera.times[first : first + len(blobs)]
        kinds = ["image/jpeg"] * len(blobs)
        columns = self._rerun.EncodedImage.columns(blob=blobs, media_type=kinds)
        self._stream.send_columns(f"camera/{camera.name}", self._index(times), columns)

    def _holds(self, timeline: Timeline) -> None:
        """Write a curve that is 1 while the arm holds, and why as an event."""
        times, values = [min(0.0, _first(timeline))], [[0.0]]
        for span in timeline.holds:
            times += [span.start, span.end]
            values += [[1.0], [0.0]]
        self._scalars("arm/held", Series(np.array(times), np.array(values)), 0)

    def _events(self, timeline: Timeline) -> None:
        """Write the log: what begins, the events, and each hold with its reason."""
        about = ": ".join(filter(None, [timeline.title, timeline.task, timeline.outcome]))
        lines = [(_first(timeline), about, "INFO")]
        lines += [(mark.time, mark.text, "INFO") for mark in timeline.marks]
        lines += [(span.start, f"held: {span.text}", "WARN") for span in timeline.holds]
        lines += [(float(time), "clipped", "DEBUG") for time in timeline.clips]
        lines.sort(key=lambda line: line[0])
        times, texts, levels = zip(*lines, strict=True)
        columns = self._rerun.TextLog.columns(text=texts, level=levels)
        self._stream.send_columns("events", self._index(times), columns)
