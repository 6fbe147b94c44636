"""How often a camera shows something new, and how old that is."""

from __future__ import annotations

import pytest

from widowx_bringup.camera import protocol as camera
from widowx_bringup.camera.protocol import FrameMonitor

SECOND = 1_000_000_000


class Clock:
    """Real and simulated time, under the test's control."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real, self.stamp_ns = 100.0, 5 * SECOND
        monkeypatch.setattr(camera.time, "monotonic", lambda: self.real)

    def pass_(self, real: float, simulated: float | None = None) -> None:
        self.real += real
        self.stamp_ns += round((real if simulated is None else simulated) * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def make(clock: Clock) -> FrameMonitor:
    return FrameMonitor(30.0, 0.5, lambda: clock.stamp_ns)


def show(
    monitor: FrameMonitor,
    clock: Clock,
    images: int,
    real: float,
    simulated: float | None = None,
) -> None:
    for _ in range(images):
        clock.pass_(real, simulated)
        monitor.on_image(clock.stamp_ns)


def test_rate_and_age_are_those_of_the_images(clock: Clock) -> None:
    monitor = make(clock)
    show(monitor, clock, 90, 1 / 30)
    clock.pass_(0.1)
    assert monitor.rate == pytest.approx(30.0, rel=1e-3)
    assert monitor.age == pytest.approx(0.1)
    assert monitor.problem() == (False, "")


def test_nothing_seen_yet_is_an_error(clock: Clock) -> None:
    assert make(clock).problem() == (True, "no image yet")


def test_images_of_the_future_are_an_error(clock: Clock) -> None:
    monitor = make(clock)
    monitor.on_image(clock.stamp_ns + 3 * SECOND)
    missing, problem = monitor.problem()
    assert missing
    assert problem.startswith("image is stamped 3.000 s in the future")


def test_slow_camera_is_a_warning_with_its_rate(clock: Clock) -> None:
    monitor = make(clock)
    show(monitor, clock, 40, 0.1)
    assert monitor.problem() == (False, "10.0 images per second, not 30")


def test_camera_that_stops_is_an_error_with_the_age(clock: Clock) -> None:
    monitor = make(clock)
    show(monitor, clock, 60, 1 / 30)
    clock.pass_(0.8)
    assert monitor.problem() == (
        True,
        "the latest image is 0.80 s old; at most 0.5 s are allowed",
    )


def test_camera_that_recovers_is_judged_by_its_last_seconds(clock: Clock) -> None:
    monitor = make(clock)
    show(monitor, clock, 20, 0.2)
    show(monitor, clock, 90, 1 / 30)
    assert monitor.problem() == (False, "")


def test_late_stamps_count_although_images_arrive(clock: Clock) -> None:
    monitor = make(clock)
    show(monitor, clock, 60, 1 / 30)
    clock.stamp_ns += SECOND
    assert monitor.age == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [0.2, 4.0])
def test_simulated_images_are_judged_by_simulated_time(clock: Clock, factor: float) -> None:
    monitor = make(clock)
    show(monitor, clock, 60, 1 / 30 / factor, 1 / 30)
    assert monitor.problem() == (False, "")


def test_simulated_world_that_stands_still_has_no_camera_that_fails(clock: Clock) -> None:
    monitor = make(clock)
    show(monitor, clock, 60, 1 / 30)
    clock.pass_(1.5, 0.0)
    assert monitor.problem() == (False, "")
