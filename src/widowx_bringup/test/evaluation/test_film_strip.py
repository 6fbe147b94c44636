"""Film strips: which images they show, and bags with and without images."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from ptr_training.viewing.timeline import Timeline, ViewError
from widowx_bringup.evaluation import film_strip as module
from widowx_bringup.evaluation.film_strip import (
    STRIP_HEIGHT,
    FilmStripError,
    can_film,
    film_of,
    film_strip,
    read_images,
    write_film_strip,
    write_films_page,
)
from widowx_bringup.evaluation.results import Rollout

STORE = get_typestore(Stores.ROS2_JAZZY)
TOPIC = "/wx250s/camera/front/image_raw"


def serialised_image(value: int) -> bytes:
    """Return a serialised image of 2 x 3 pixels of one grey value."""
    stamp = STORE.types["builtin_interfaces/msg/Time"](0, 0)
    header = STORE.types["std_msgs/msg/Header"](stamp, "front")
    pixels = np.full(18, value, np.uint8)
    image = STORE.types["sensor_msgs/msg/Image"](header, 2, 3, "rgb8", 0, 9, pixels)
    return bytes(STORE.serialize_cdr(image, "sensor_msgs/msg/Image"))


class FakeBag:
    """A bag with five images of one camera."""

    def __init__(self, path: Path) -> None:
        self.types = {TOPIC: "sensor_msgs/msg/Image"}

    def __enter__(self) -> FakeBag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def messages(self, topics: list[str]) -> Iterator[tuple[str, int, bytes]]:
        for value in range(5 if topics else 0):
            yield TOPIC, value, serialised_image(value)


def test_images_of_a_bag_are_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Bag", FakeBag)
    images = read_images(Path("bag"), "front", count=3)
    assert [image[0, 0, 0] for image in images] == [0, 2, 4]
    assert images[0].shape == (2, 3, 3)


def test_a_bag_without_the_camera_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Bag", FakeBag)
    with pytest.raises(FilmStripError, match="no images of camera 'wrist'"):
        read_images(Path("bag"), "wrist")


def test_film_strip_shows_first_and_last_frame(tmp_path: Path) -> None:
    frames = [np.full((240, 320, 3), value, np.uint8) for value in (10, 90, 200)]
    strip = film_strip(frames, count=3)
    assert strip.shape == (STRIP_HEIGHT, 3 * 160, 3)
    assert (strip[0, 0, 0], strip[0, 160, 0], strip[0, -1, 0]) == (10, 90, 200)
    write_film_strip(tmp_path / "strip.jpg", frames)
    assert cv2.imread(str(tmp_path / "strip.jpg")).shape[0] == STRIP_HEIGHT


def rollout(method: str, scene: int, success: bool = True) -> Rollout:
    """Return a rollout whose strip has the name that evaluations give it."""
    strip = f"strips/{method}_{scene:03d}.jpg"
    return Rollout(method, scene, 5, "stir", success, 20, 4.0, 0, 0, 0, "solved", "", strip)


def test_a_film_that_cannot_be_made_loses_no_rollout(capsys: pytest.CaptureFixture) -> None:
    def read() -> Timeline:
        raise ViewError("the bag holds no images")

    assert film_of(rollout("ptr", 3), read) is None
    assert capsys.readouterr().err == "no film of ptr, scene 3: the bag holds no images\n"


def test_without_pyav_one_line_says_that_there_are_no_films(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert not can_film()
    assert capsys.readouterr().err.count("\n") == 1


def test_the_page_of_films_links_those_that_were_made(tmp_path: Path) -> None:
    rows = [rollout("ptr", 0), rollout("b/c", 0, False), rollout("ptr", 1)]
    for row in rows[:2]:
        (tmp_path / row.film).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / row.film).touch()
    write_films_page(tmp_path, rows)
    page = (tmp_path / "films.html").read_text()
    assert re.findall(r'href="([^"]*)"', page) == [
        "films/ptr_000.html",
        "films/b/c_000.html",
    ]
    assert "not solved" in page


def test_there_is_no_page_without_films(tmp_path: Path) -> None:
    write_films_page(tmp_path, [rollout("ptr", 0)])
    assert not list(tmp_path.iterdir())
