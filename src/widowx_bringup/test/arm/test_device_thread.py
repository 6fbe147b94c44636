"""The thread that owns a device: the order of jobs and ticks, and their exceptions."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from widowx_bringup.arm.device_thread import DeviceThread

LIMIT = 10.0
"""Longest wait for anything [s]."""


class Recorder:
    """A device thread that records its ticks and jobs."""

    def __init__(self, period: float = 0.001) -> None:
        self.events: list[str] = []
        self.ticked = threading.Event()
        self.device = DeviceThread(self.tick, period)

    def tick(self) -> None:
        self.events.append("tick")
        self.ticked.set()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.device.stop()


def test_all_jobs_that_wait_are_done_in_order_before_the_first_tick(
    recorder: Recorder,
) -> None:
    for number in range(5):
        recorder.device.submit(lambda number=number: recorder.events.append(str(number)))
    recorder.device.start()
    assert recorder.ticked.wait(LIMIT)
    assert recorder.events[:6] == ["0", "1", "2", "3", "4", "tick"]


def test_jobs_are_done_in_the_device_thread_and_return_their_results(
    recorder: Recorder,
) -> None:
    recorder.device.start()
    job = recorder.device.submit(lambda: threading.current_thread())
    assert job.result(timeout=LIMIT) is recorder.device
    assert recorder.device.name == "device"


def test_an_exception_of_a_job_is_the_callers_and_the_thread_goes_on(
    recorder: Recorder,
) -> None:
    recorder.device.start()
    failed = recorder.device.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(timeout=LIMIT)
    assert recorder.device.submit(lambda: 7).result(timeout=LIMIT) == 7
    assert recorder.device.error is None


def test_an_exception_of_a_tick_ends_the_thread_and_is_kept() -> None:
    def fail() -> None:
        raise ValueError("the device is gone")

    device = DeviceThread(fail, 0.001)
    device.start()
    device.join(LIMIT)
    assert not device.is_alive()
    assert str(device.error) == "the device is gone"


def test_a_thread_that_is_stopped_finishes_the_jobs_queued_before(
    recorder: Recorder,
) -> None:
    recorder.device.start()
    jobs = [recorder.device.submit(lambda: None) for _ in range(20)]
    recorder.device.stop()
    assert all(job.done() for job in jobs)
    assert not recorder.device.is_alive()
    assert not recorder.device.submit(lambda: None).done()


class SteppedClock:
    """A clock that stands still between two steps [s]."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_ticks_that_were_missed_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SteppedClock()
    monkeypatch.setattr("widowx_bringup.arm.device_thread.time", clock)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(clock.now)
        if len(ticks) == 1:
            clock.now += 5.0  # 250 periods late
        if device._jobs.empty() and len(ticks) == 8:
            device._jobs.put(None)

    device = DeviceThread(tick, 0.02)
    monkeypatch.setattr(device, "_work", _work_of_a_stepped_clock(device, clock))
    device.loop()
    late = [at for at in ticks if at == 5.0]
    assert len(late) <= 6  # 0.1 s of ticks, not 5 s
    assert ticks[-1] > 5.0


def _work_of_a_stepped_clock(
    device: DeviceThread, clock: SteppedClock
) -> Callable[[float], bool]:
    """Return the thread's `_work`, with a clock that is stepped instead of waited for."""
    work = device._work

    def stepped_work(timeout: float) -> bool:
        try:
            return work(0.0)
        except queue.Empty:
            clock.now += timeout
            raise

    return stepped_work
