"""Interrupted recordings: restored up to their last whole chunk."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from word_bags import CUSTOM, TOPIC, metadata, read, word, write_bag

from widowx_bringup.recording.bag_writer import BagWriter, RecordingError
from widowx_bringup.recording.recover import main, restore, restore_plain

RECORD_FOREVER = """
import sys
from pathlib import Path
from widowx_bringup.recording.bag_writer import BagWriter, Topic
writer = BagWriter(Path(sys.argv[1]), "e1", {"episode_id": "e1", "task": "t", "operator": "Ada"})
topic = Topic("/robot/words", "std_msgs/msg/String", "string data\\n")
for index in range(10**9):
    writer.write(topic, bytes.fromhex(sys.argv[2]), 1000 + index)
    if index % 100 == 99:
        writer.flush()
"""


def killed_recording(directory: Path) -> Path:
    """Let another process record until some chunks are on the disk, then kill it."""
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD_FOREVER, str(directory), word("x" * 500).hex()]
    )
    partial = directory / ".e1.partial"
    file = partial / "e1_0.mcap"
    try:
        deadline = time.monotonic() + 30
        while not (file.exists() and file.stat().st_size > 300_000):
            assert time.monotonic() < deadline
            assert process.poll() is None
        assert "still being recorded" in restore(partial)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return partial


def test_killed_recording_is_restored_and_a_second_time_is_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partial = killed_recording(tmp_path)
    with (partial / "e1_0.mcap").open("ab") as file:
        file.write(b"\x06\xff\xff\x00\x00\x00\x00\x00\x00half a chunk")
    assert main([str(tmp_path)]) == 0
    messages = read(tmp_path / "e1")
    assert len(messages) >= 500
    assert [stamp for stamp, _ in messages] == list(range(1000, 1000 + len(messages)))
    described = metadata(tmp_path / "e1")
    assert described["custom_data"] == {
        "episode_id": "e1",
        "task": "t",
        "operator": "Ada",
        "outcome": "interrupted",
    }
    assert described["message_count"] == len(messages)
    assert [path.name for path in tmp_path.iterdir()] == ["e1"]
    assert main([str(tmp_path)]) == 0
    assert "nothing to restore" in capsys.readouterr().out
    assert read(tmp_path / "e1") == messages


def test_restoration_that_was_killed_before_clearing_up_is_completed(
    tmp_path: Path,
) -> None:
    writer = BagWriter(tmp_path, "e1", CUSTOM)
    writer.write(TOPIC, word("a"), 1)
    writer.flush()
    writer.abandon()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (tmp_path / ".e1.partial").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    restore(tmp_path / ".e1.partial")
    copy.rename(tmp_path / ".e1.partial")
    assert "was restored before" in restore(tmp_path / ".e1.partial")
    assert [path.name for path in tmp_path.iterdir()] == ["e1"]


def test_episode_that_had_ended_keeps_its_outcome(tmp_path: Path) -> None:
    path = write_bag(tmp_path, ["a", "b"], outcome="failure")
    path.rename(tmp_path / ".e1.partial")  # killed between the last byte and the new name
    restore(tmp_path / ".e1.partial")
    assert metadata(tmp_path / "e1")["custom_data"]["outcome"] == "failure"
    assert len(read(tmp_path / "e1")) == 2


def test_recording_without_a_whole_chunk_is_removed(tmp_path: Path) -> None:
    BagWriter(tmp_path, "e1", CUSTOM).abandon()
    (tmp_path / ".e2.partial").mkdir()
    assert main([str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_recover_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is not a folder"):
        main([str(tmp_path / "nowhere")])


def killed_by_hand(directory: Path) -> Path:
    """Make what a killed `ros2 bag record` leaves: a whole file, one without its end, no more."""
    folder = directory / "drive"
    folder.mkdir()
    whole = write_bag(directory, ["a", "b"])
    (whole / "e1_0.mcap").rename(folder / "drive_9.mcap")
    (whole / "metadata.yaml").unlink()
    whole.rmdir()
    writer = BagWriter(directory, "e1", CUSTOM)
    for index, text in enumerate("cde"):
        writer.write(TOPIC, word(text), 2_000 + index)
        if text == "d":
            writer.flush()
    writer.abandon()
    partial = directory / ".e1.partial"
    content = (partial / "e1_0.mcap").read_bytes()
    (folder / "drive_10.mcap").write_bytes(content[:-20])
    for file in partial.iterdir():
        file.unlink()
    partial.rmdir()
    return folder


@pytest.mark.parametrize("named", ["the recording", "the folder of bags"])
def test_killed_recording_of_ros2_bag_record_is_restored_beside_it(
    tmp_path: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = killed_by_hand(tmp_path)
    before = sorted(file.read_bytes() for file in folder.iterdir())
    directory = str(folder if named == "the recording" else tmp_path)
    assert main([directory]) == 0
    words = [text for _, text in read(tmp_path / "drive-restored")]
    assert words[:4] == ["a", "b", "c", "d"]
    assert main([directory]) == 0
    assert "was restored before" in capsys.readouterr().out
    assert sorted(file.read_bytes() for file in folder.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"drive", "drive-restored"}


def test_recording_that_a_process_has_open_is_left_alone(tmp_path: Path) -> None:
    folder = killed_by_hand(tmp_path)
    with (folder / "drive_10.mcap").open("ab"):
        assert "still being recorded" in restore_plain(folder)
    assert "restored" in restore_plain(folder)


def test_whole_recordings_without_metadata_are_left_to_reindex(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_bag(tmp_path, ["a", "b"])
    (whole / "e1_0.mcap").rename(tmp_path / "loose.mcap")
    write_bag(tmp_path / "bags", ["a"])
    (tmp_path / "loose.mcap").rename(tmp_path / "bags/loose.mcap")
    assert main([str(tmp_path / "bags")]) == 0
    assert "nothing to restore" in capsys.readouterr().out


def test_killed_recording_of_which_nothing_is_whole_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive/drive_0.mcap").write_bytes(b"")
    assert main([str(tmp_path)]) == 2
    assert "not one whole chunk" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]
