"""Stamps of camera images that the guard does not trust."""

from __future__ import annotations

import pytest

from widowx_bringup.arm.guard import CommandGuard
from widowx_bringup.arm.refusal import Kind

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
T0 = 100 * SECOND
IMAGE_TIMEOUT = 500 * MILLISECOND


def make_guard() -> CommandGuard:
    """Return a guard in an episode, before the first image."""
    guard = CommandGuard(max_age=0.2, command_timeout=0.4, image_timeout=0.5)
    guard.start("e")
    return guard


@pytest.mark.parametrize("ahead", [3 * SECOND, 3600 * SECOND])
def test_images_from_the_future_do_not_switch_the_watchdog_off(ahead: int) -> None:
    guard = make_guard()
    guard.on_image(T0, T0)
    for number in range(1, 30):
        now = T0 + number * 33 * MILLISECOND
        guard.on_image(now + ahead, now)
    assert guard.early_images == 29
    refusal = guard.check_image_timeout(T0 + IMAGE_TIMEOUT + 1)
    assert refusal is not None
    assert refusal.kind is Kind.CAMERA
    assert "the camera's image is stamped" in refusal.text
    later = T0 + SECOND
    guard.on_image(later, later)
    assert guard.check_image_timeout(later + IMAGE_TIMEOUT) is None


def test_a_camera_that_has_only_shown_the_future_is_watched_from_its_first_image() -> None:
    guard = make_guard()
    guard.on_image(T0 + 100 * SECOND, T0)
    guard.on_image(T0 + 101 * SECOND, T0 + SECOND)
    assert guard.check_image_timeout(T0 + IMAGE_TIMEOUT) is None
    assert guard.check_image_timeout(T0 + IMAGE_TIMEOUT + 1) is not None


def test_an_image_ages_from_its_arrival_if_its_stamp_is_a_little_ahead() -> None:
    guard = make_guard()
    guard.on_image(T0 + 50 * MILLISECOND, T0)
    assert guard.image_ns == T0
    assert guard.early_images == 0
