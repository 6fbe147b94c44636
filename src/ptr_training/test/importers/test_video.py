"""Videos: the right picture for each time, equal bytes, and what is said of damaged or unsuitable ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ptr_training.errors import TrainingError
from ptr_training.importers.base import RecordError
from ptr_training.importers.video import VideoPictures, VideoWriter

RATE = 5


def greys(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Return pictures of which each is lighter than the one before."""
    return np.stack(
        [np.full((height, width, 3), 10 * number, np.uint8) for number in range(count)]
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 20 pictures."""
    with VideoWriter(tmp_path / "v.mp4", RATE, 32, 48) as writer:
        for picture in greys(20):
            writer.add(picture)
    return tmp_path / "v.mp4"


@pytest.mark.parametrize("start", [0, 1, 7, 18])
@pytest.mark.parametrize("off", [-0.09, 0, 0.09])
def test_each_time_gets_its_own_picture(video: Path, start: int, off: float) -> None:
    times = np.arange(start, 20) / RATE + off
    found = np.stack(list(VideoPictures(video, times.tolist(), RATE)))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - greys(20)[start:]).max() <= 3


def test_a_part_of_them_can_be_taken(video: Path) -> None:
    pictures = VideoPictures(video, (np.arange(20) / RATE).tolist(), RATE)
    assert (len(pictures), len(pictures[1:])) == (20, 19)
    assert [round(picture.mean() / 10) for picture in pictures[17:]] == [17, 18, 19]
    assert round(pictures[7].mean() / 10) == 7


def test_equal_pictures_give_equal_bytes(video: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "again.mp4", RATE, 32, 48) as writer:
        for picture in greys(20):
            writer.add(picture)
    assert (tmp_path / "again.mp4").read_bytes() == video.read_bytes()
    assert 0 < writer.size < video.stat().st_size
    assert writer.pictures == 20


def test_time_beyond_the_end_is_refused(video: Path) -> None:
    pictures = iter(VideoPictures(video, [3.6, 3.8, 4.0], RATE))
    assert len([next(pictures), next(pictures)]) == 2
    with pytest.raises(RecordError, match=r"v\.mp4 has no picture at 4\.00 s"):
        next(pictures)


@pytest.mark.parametrize(
    ("size", "message"),
    [(-300, "cannot be read as a video"), (0, "cannot be read as a video")],
)
def test_truncated_video_is_refused(video: Path, size: int, message: str) -> None:
    video.write_bytes(video.read_bytes()[:size])
    with pytest.raises(RecordError, match=message):
        list(VideoPictures(video, (np.arange(20) / RATE).tolist(), RATE))


def test_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.mp4 does not exist"):
        list(VideoPictures(tmp_path / "none.mp4", [0.0], RATE))


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
            list(VideoPictures(file, [0.0], RATE))


def test_huge_pictures_are_refused(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptr_training.importers.video.MAX_PIXELS", 32 * 48 - 1)
    with pytest.raises(
        RecordError, match=r"v\.mp4 has pictures of 48x32; at most 1535 pixels"
    ):
        list(VideoPictures(video, [0.0], RATE))


def test_odd_size_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match="pictures are 33x32; a video needs an even width and height"
    ):
        VideoWriter(tmp_path / "v.mp4", RATE, 32, 33)
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, video: Path
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(TrainingError, match="pip install av"):
        list(VideoPictures(video, [0.0], RATE))
