"""Videos: the right image for each time, equal bytes, and damaged or unsuitable files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ptr_training.errors import TrainingError
from ptr_training.importers.base import RecordError
from ptr_training.importers.video import VideoImages, VideoWriter

RATE = 5


def greys(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Return images of which each is lighter than the one before."""
    return np.stack(
        [np.full((height, width, 3), 10 * number, np.uint8) for number in range(count)]
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 20 images."""
    with VideoWriter(tmp_path / "v.mp4", RATE, 32, 48) as writer:
        for image in greys(20):
            writer.add(image)
    return tmp_path / "v.mp4"


@pytest.mark.parametrize("start", [0, 1, 7, 18])
@pytest.mark.parametrize("off", [-0.09, 0, 0.09])
def test_each_time_gets_its_own_image(video: Path, start: int, off: float) -> None:
    times = np.arange(start, 20) / RATE + off
    found = np.stack(list(VideoImages(video, times.tolist(), RATE)))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - greys(20)[start:]).max() <= 3


def test_a_part_of_them_can_be_taken(video: Path) -> None:
    images = VideoImages(video, (np.arange(20) / RATE).tolist(), RATE)
    assert (len(images), len(images[1:])) == (20, 19)
    assert [round(image.mean() / 10) for image in images[17:]] == [17, 18, 19]
    assert round(images[7].mean() / 10) == 7


def test_equal_images_give_equal_bytes(video: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "again.mp4", RATE, 32, 48) as writer:
        for image in greys(20):
            writer.add(image)
    assert (tmp_path / "again.mp4").read_bytes() == video.read_bytes()
    assert 0 < writer.size < video.stat().st_size
    assert writer.images == 20


def test_time_beyond_the_end_is_refused(video: Path) -> None:
    images = iter(VideoImages(video, [3.6, 3.8, 4.0], RATE))
    assert len([next(images), next(images)]) == 2
    with pytest.raises(RecordError, match=r"v\.mp4 has no image at 4\.00 s"):
        next(images)


@pytest.mark.parametrize(
    ("size", "message"),
    [(-300, "cannot be read as a video"), (0, "cannot be read as a video")],
)
def test_truncated_video_is_refused(video: Path, size: int, message: str) -> None:
    video.write_bytes(video.read_bytes()[:size])
    with pytest.raises(RecordError, match=message):
        list(VideoImages(video, (np.arange(20) / RATE).tolist(), RATE))


def test_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.mp4 does not exist"):
        list(VideoImages(tmp_path / "none.mp4", [0.0], RATE))


def test_a_list_of_files_is_not_followed(video: Path) -> None:
    for name, content in (
        ("concat.mp4", f"ffconcat version 1.0\nfile {video.name}\n"),
        (
            "playlist.mp4",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{video.name}\n#EXT-X-ENDLIST\n",
        ),
    ):
        file = video.with_name(name)
        file.write_text(content)
        with pytest.raises(RecordError, match=f"{name} cannot be read as a video"):
            list(VideoImages(file, [0.0], RATE))


def test_huge_images_are_refused(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptr_training.importers.video.MAX_PIXELS", 32 * 48 - 1)
    with pytest.raises(
        RecordError, match=r"v\.mp4 has images of 48x32; allowed are 1535 pixels"
    ):
        list(VideoImages(video, [0.0], RATE))


def test_odd_size_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match="images are 33x32; a video needs an even width and height"
    ):
        VideoWriter(tmp_path / "v.mp4", RATE, 32, 33)
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, video: Path
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(TrainingError, match="pip install av"):
        list(VideoImages(video, [0.0], RATE))
