"""The films of a session's trials, made from their bags.

While methods have codes, a film is images alone: a critic's values, or that there are none, might
tell which method it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2

from ptr_common.files import atomic_file
from ptr_common.progress import progress
from ptr_training.viewing.bag_timeline import read_bag
from widowx_bringup.evaluation.film_strip import STRIP_FRAMES, can_film, film_of
from widowx_bringup.evaluation.results import Rollout


def make_films(folder: Path, rollouts: Iterable[Rollout], *, blinded: bool) -> None:
    """Make the films that are missing; where one cannot be made, a line says why.

    Args:
        folder: Of the session.
        rollouts: Its trials that count.
        blinded: Whether the methods have codes.
    """
    missing = []
    for row in rollouts:
        page = folder / row.film
        is_made = page.with_suffix(".mp4") if blinded else page
        if row.bag and row.strip and (folder / row.bag).is_dir() and not is_made.is_file():
            missing.append(row)
    if not missing or not can_film():
        return
    for row in progress(missing, desc="films", unit="film"):
        _make_film(folder, row, blinded=blinded)


def _make_film(folder: Path, row: Rollout, *, blinded: bool) -> None:
    """Make the film of a trial, and the image that stands for it until it plays."""
    film = film_of(row, partial(read_bag, folder / row.bag))
    if film is None:
        return
    page = folder / row.film
    _write_poster(folder / row.strip, page.with_suffix(".jpg"))
    if not blinded:
        film.write(page.parent, page.stem)
        return
    with atomic_file(page.with_suffix(".mp4")) as path:
        path.write_bytes(film.mp4)


def _write_poster(strip: Path, poster: Path) -> None:
    """Write the last image of a film strip: how the trial ended."""
    image = cv2.imread(str(strip))
    if image is None:
        return
    width = image.shape[1] // STRIP_FRAMES
    done, data = cv2.imencode(".jpg", image[:, -width:])
    if done:
        with atomic_file(poster) as path:
            path.write_bytes(data.tobytes())
