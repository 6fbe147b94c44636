"""Film strips: a few images of a rollout side by side in one JPEG file; and its film.

A film has Q and actions under it. Neither is worth the loss of a rollout: where a film cannot
be made, a line says why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.html_page import render_page
from ptr_common.images import decode, write_jpeg
from ptr_common.topics import image_topic
from ptr_training.bags.reader import Bag

from .results import Rollout, by_method

if TYPE_CHECKING:
    from ptr_training.viewing.film import Film
    from ptr_training.viewing.timeline import Timeline

FILMS_PAGE = """
<p>Each film has Q and actions under it on one time axis, and a player with steps.
Green: solved; red: not; the number is that of the steps.</p>
<table>
<tr><th scope="col" class="number">scene</th>
{% for method in methods %}<th scope="col">{{ method }}</th>{% endfor %}</tr>
{% for scene, cells in scenes.items() %}
<tr><th scope="row" class="number">{{ scene }}</th>
{% for method in methods %}
<td>{% for row in cells.get(method, []) %}
<a class="{{ "won" if row.success else "lost" }}" href="{{ row.film | urlencode }}">
{{- "solved" if row.success else "not solved" }}, {{ row.steps }}</a>
{% endfor %}</td>
{% endfor %}</tr>
{% endfor %}
</table>
"""

FILMS_STYLE = """
a.won { color: #1c7a44 } a.lost { color: #b03126 } a { display: inline-block; padding: .4rem 0 }
"""

STRIP_FRAMES = 8
"""Images of a film strip."""

STRIP_HEIGHT = 120
"""Height of a film strip [pixels]."""


class FilmStripError(PtrError):
    """A film strip cannot be made."""


def strip_images(
    images: Sequence[np.ndarray], count: int = STRIP_FRAMES
) -> list[np.ndarray]:
    """Return the images that a film strip of some images shows, first and last included.

    Args:
        images: RGB images, each (H, W, 3) uint8; at least one.
        count: Number of images to show.

    Returns:
        `count` of the images; some repeat if there are fewer.
    """
    return [images[index] for index in _evenly_spaced(len(images), count)]


def film_strip(images: Sequence[np.ndarray], count: int = STRIP_FRAMES) -> np.ndarray:
    """Return evenly spaced images side by side, first and last included.

    Args:
        images: RGB images, each (H, W, 3) uint8; at least one.
        count: Number of images to show.

    Returns:
        One RGB image, shape (STRIP_HEIGHT, width, 3), uint8.
    """
    height, width = images[0].shape[:2]
    size = (round(width * STRIP_HEIGHT / height), STRIP_HEIGHT)
    shown = []
    for image in strip_images(images, count):
        shown.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return np.hstack(shown)


def write_film_strip(path: Path, images: Sequence[np.ndarray]) -> None:
    """Write a film strip of RGB images, each (H, W, 3) uint8, as a JPEG file."""
    write_jpeg(path, film_strip(images))


def read_images(bag_path: Path, camera: str, count: int = STRIP_FRAMES) -> list[np.ndarray]:
    """Return evenly spaced images of one camera in a bag, first and last included.

    Args:
        bag_path: The bag.
        camera: Name of the camera.
        count: Number of images.

    Returns:
        RGB images, each (H, W, 3) uint8.

    Raises:
        FilmStripError: If the bag has no image of the camera.
    """
    with Bag(bag_path) as bag:
        topics = [topic for topic in bag.types if topic.endswith(image_topic(camera))]
        messages = list(bag.messages(topics))
        if not messages:
            raise FilmStripError(
                f"{bag_path} holds no images of camera {camera!r}; is the camera node running?"
            )
        images = []
        for index in _evenly_spaced(len(messages), count):
            topic, _, data = messages[index]
            images.append(decode(data, bag.types[topic]).copy())
    return images


def _evenly_spaced(length: int, count: int) -> list[int]:
    """Return `count` indices from 0 to `length - 1`; indices repeat if there are too few."""
    return np.linspace(0, length - 1, count).round().astype(int).tolist()


# Films
# ---------------------------------------------------------------------------------------


def can_film() -> bool:
    """Return whether films can be made here; a line says what is missing."""
    from ptr_training.importers.video import import_av

    try:
        import_av()
    except PtrError as error:
        print(f"no films: {error}", file=sys.stderr)
        return False
    return True


def film_of(rollout: Rollout, read: Callable[[], Timeline]) -> Film | None:
    """Return the film of a rollout; None, after a line that says why, if none can be made.

    Args:
        rollout: Names the film.
        read: Returns what happened in it.
    """
    from ptr_training.viewing.film import make_film

    title = f"{rollout.method}, scene {rollout.rollout}"
    try:
        return make_film(replace(read(), title=title))
    except PtrError as error:
        print(f"no film of {title}: {error}", file=sys.stderr)
        return None


def write_films_page(out: Path, rollouts: Sequence[Rollout]) -> None:
    """Write `films.html`, which links the films that were made; nothing without any.

    Args:
        out: Folder of the results.
        rollouts: All of them; those that were aborted are left out.
    """
    filmed = [row for row in rollouts if row.strip and (out / row.film).is_file()]
    scenes: dict[int, dict[str, list[Rollout]]] = {}
    for row in sorted(filmed, key=lambda row: row.rollout):
        scenes.setdefault(row.rollout, {}).setdefault(row.method, []).append(row)
    if filmed:
        values = {"methods": list(by_method(filmed)), "scenes": scenes}
        page = render_page(
            f"Films: {filmed[0].task}", FILMS_PAGE, style=FILMS_STYLE, **values
        )
        with atomic_file(out / "films.html") as path:
            path.write_text(page, encoding="utf-8")
