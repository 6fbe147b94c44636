"""Films: one image a control step, small, equal to the byte; the page plays them offline."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moving_episodes import make_episode

from ptr_training.importers.video import VideoImages
from ptr_training.viewing.film import MAX_SIDE, Film, make_film
from ptr_training.viewing.timeline import ArrayImages, Timeline, ViewError, of_episode

pytest.importorskip("av", reason="PyAV is not installed")


def timeline_of(height: int = 48, width: int = 64, steps: int = 6) -> Timeline:
    """Return an episode whose images are grey, brighter with each step."""
    episode = make_episode("e1", 1, steps)
    levels = np.linspace(20, 220, steps + 1).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (steps + 1, height, width, 3))
    return of_episode(replace(episode, frames=frames), "front", np.ones((steps, 2)))


def images_of(film: Film, folder: Path, count: int) -> list[np.ndarray]:
    """Decode a film."""
    (folder / "film.mp4").write_bytes(film.mp4)
    return list(VideoImages(folder / "film.mp4", [k / 5 for k in range(count)], 5.0))


def data_of(page: str) -> Any:
    """Return the data in a page."""
    match = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page, re.S
    )
    assert match
    return json.loads(match[1])


def test_a_film_has_the_image_of_each_step(tmp_path: Path) -> None:
    images = images_of(make_film(timeline_of()), tmp_path, 7)
    assert images[0].shape == (48, 64, 3)
    means = [image.mean() for image in images]
    np.testing.assert_allclose(means, np.linspace(20, 220, 7), atol=3)


def test_equal_episodes_give_equal_bytes() -> None:
    assert make_film(timeline_of()) == make_film(timeline_of())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (240, 320)),
        ((47, 63), (48, 64)),
        ((1000, 10), (320, 4)),
        ((8, 8), (8, 8)),
    ],
)
def test_large_images_are_reduced_and_odd_ones_filled_up(
    size: tuple[int, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    film = make_film(timeline_of(*size, steps=1))
    assert images_of(film, tmp_path, 2)[0].shape == (*expected, 3)
    assert max(expected) <= MAX_SIDE


def test_the_page_carries_its_film_and_loads_nothing() -> None:
    film = make_film(timeline_of())
    data = data_of(film.page)
    assert base64.b64decode(data["film"]) == film.mp4
    assert len(data["steps"]) == 7
    assert "Q 1.000 and 1.000" in data["steps"][0]["text"]
    outside = film.page.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in outside
    assert "src=" not in outside


def test_a_task_cannot_end_the_script_of_the_page() -> None:
    text = "</script><script>alert(1)</script>"
    page = make_film(replace(timeline_of(), task=text, title=text)).page
    assert page.count("</script>") == 2
    assert "alert(1)<" not in page


def test_an_image_of_another_size_in_the_middle_is_fitted(tmp_path: Path) -> None:
    class Changing(ArrayImages):
        def read(self, indices: Any) -> Any:
            for index in indices:
                yield np.full((48, 64) if index < 3 else (24, 32), 99, np.uint8)[
                    ..., None
                ].repeat(3, 2)

    timeline = timeline_of()
    times = timeline.cameras[0].times
    film = make_film(replace(timeline, cameras=[Changing("front", times, np.zeros(0))]))
    assert images_of(film, tmp_path, 7)[-1].shape == (48, 64, 3)


def test_without_images_there_is_no_film() -> None:
    with pytest.raises(ViewError, match="e1 holds no images"):
        make_film(replace(timeline_of(), cameras=[]))


def test_a_film_is_written_as_three_files(tmp_path: Path) -> None:
    make_film(timeline_of()).write(tmp_path / "films", "a")
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == [
        *("a.html", "a.mp4", "a.svg"),
    ]
