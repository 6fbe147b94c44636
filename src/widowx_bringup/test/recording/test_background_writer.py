"""A bag written by a second thread: what is dropped, and what a full disk leaves."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from word_bags import CUSTOM, STRING, TOPIC, metadata, read, word

from widowx_bringup.recording.background_writer import BackgroundWriter
from widowx_bringup.recording.bag_writer import BagWriter, Topic
from widowx_bringup.recording.recover import restore


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files cannot grow beyond 200 kB, as on a full disk (the error is EFBIG instead of ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_full_disk_is_reported_and_what_fitted_is_restored(tmp_path: Path) -> None:
    writer = BackgroundWriter(
        BagWriter(tmp_path, "e1", CUSTOM, chunk_bytes=50_000), 1 << 20
    )
    for index in range(1000):
        writer.put(TOPIC, word("x" * 500), index)
    writer.finish({"outcome": "success"})
    writer.join()
    assert "recording stopped: [Errno 27]" in writer.error
    assert writer.path is None
    assert not (tmp_path / "e1").exists()
    resource.setrlimit(
        resource.RLIMIT_FSIZE,
        (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]),
    )
    restore(tmp_path / ".e1.partial")
    assert len(read(tmp_path / "e1")) > 200
    assert metadata(tmp_path / "e1")["custom_data"]["outcome"] == "interrupted"


def test_full_queue_drops_and_counts_but_never_events(tmp_path: Path) -> None:
    bag = BagWriter(tmp_path, "e1", CUSTOM)
    write = bag.write
    started, go_on = threading.Event(), threading.Event()

    def slow(topic: Topic, data: bytes, log_time_ns: int) -> None:
        started.set()
        go_on.wait(30)
        write(topic, data, log_time_ns)

    bag.write = slow  # type: ignore[method-assign]
    writer = BackgroundWriter(bag, queue_bytes=2000)
    writer.put(TOPIC, word("first"), 0)
    assert started.wait(30)  # the queue is empty now and the disk stands still
    for index in range(10):
        writer.put(TOPIC, word("x" * 500), 1 + index)
    event = Topic("/robot/events", STRING, "string data\n")
    writer.put(event, word("the end"), 100, always=True)
    go_on.set()
    writer.finish({"outcome": "success"})
    writer.join()
    assert writer.path is not None
    kept = read(writer.path)
    assert len(kept) == 12 - writer.dropped[TOPIC.name]
    assert kept[-1] == (100, "the end")
    custom = metadata(writer.path)["custom_data"]
    assert (
        custom["dropped"]
        == custom["dropped /robot/words"]
        == str(writer.dropped.total())
        == "7"
    )


def test_recording_on_a_second_thread_equals_direct_writing(tmp_path: Path) -> None:
    writer = BackgroundWriter(BagWriter(tmp_path, "e1", CUSTOM), 1 << 20)
    for index in range(200):
        writer.put(TOPIC, word(str(index)), index)
    writer.finish({"outcome": "stop"})
    writer.join()
    assert writer.path is not None
    assert read(writer.path) == [(index, str(index)) for index in range(200)]
    assert metadata(writer.path)["custom_data"] == {
        **CUSTOM,
        "outcome": "stop",
        "dropped": "0",
    }
