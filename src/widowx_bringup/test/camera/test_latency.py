"""Camera latency: of synthetic signals with a known delay, of the simulated world, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ptr_common.action_space import CONTROL_RATE
from ptr_common.images import resize_area
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.limits import Limits
from widowx_bringup.camera.latency import (
    LAGS,
    MOVE,
    LatencyError,
    Recording,
    check,
    correlate,
    image_change,
    interpolate,
    measure,
    motion,
    peak,
)
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.world import World

SECONDS = 24.0
BEGIN_NS = 1_700_000_000_000_000_000

Path = Callable[[np.ndarray], np.ndarray]
"""Where the arm is at some times [s], in moves."""


def there_and_back(t: np.ndarray) -> np.ndarray:
    """The motion of a calibration, each move a smooth quarter of a second."""
    moves = motion(1.0)[:, 1] / MOVE[1]
    begins = np.arange(len(moves)) / CONTROL_RATE
    u = np.clip((np.asarray(t)[:, None] - begins) / 0.25, 0.0, 1.0)
    return (moves * (3 * u**2 - 2 * u**3)).sum(axis=1)


def to_and_fro(t: np.ndarray) -> np.ndarray:
    """A motion that repeats itself every 0.4 s."""
    return 0.5 * np.sin(2 * np.pi * np.asarray(t) / 0.8)


def scene(place: float) -> np.ndarray:
    """What is seen of an arm at a place: a bright spot."""
    x, y = np.meshgrid(np.arange(80), np.arange(60))
    return 40.0 + 150.0 * np.exp(-((x - 40 - 3 * place) ** 2 + (y - 30) ** 2) / 60)


def record(
    latency: float, path: Path = there_and_back, *, rate: float = 30.0, seed: int = 0
) -> Recording:
    """A recording whose images are stamped so much later than what they show [s]."""
    rng = np.random.default_rng(seed)
    seen = np.arange(0.0, SECONDS, 1 / rate)
    states = np.arange(0.013, SECONDS, 0.05) + rng.uniform(
        -0.004, 0.004, len(np.arange(0.013, SECONDS, 0.05))
    )
    images = np.array([scene(place) for place in path(seen)]).round().astype(np.uint8)
    joints = 0.1 * path(states)[:, None] * np.array([1.0, 0.3, -0.4, 0, 0, 0])
    return Recording(nanoseconds(seen + latency), images, nanoseconds(states), joints)


def nanoseconds(times: np.ndarray) -> np.ndarray:
    return BEGIN_NS + np.round(times * 1e9).astype(np.int64)


# --- known delays -------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [0.0, 0.0071, 0.0333, 0.0468, 0.1, 0.213, 0.65, 0.99])
def test_a_known_delay_is_found_to_a_fraction_of_a_frame(latency: float) -> None:
    found = measure(record(latency))
    check(found)
    assert found.latency == pytest.approx(latency, abs=0.002)
    assert found.frames == pytest.approx(30 * latency, abs=0.06)
    assert found.correlation > 0.98
    assert found.uncertainty < 0.002


@pytest.mark.parametrize("rate", [10.0, 15.0, 60.0])
def test_the_rate_of_the_camera_does_not_shift_the_result(rate: float) -> None:
    found = measure(record(0.12, rate=rate))
    check(found)
    assert found.latency == pytest.approx(0.12, abs=0.005)
    assert 1 / found.interval == pytest.approx(rate, rel=0.01)


def test_noise_widens_the_uncertainty_and_little_else() -> None:
    clean = record(0.0834)
    rng = np.random.default_rng(1)
    noisy = clean.images + rng.normal(0, 3, clean.images.shape)
    found = measure(replace(clean, images=noisy.clip(0, 255).astype(np.uint8)))
    check(found)
    assert found.latency == pytest.approx(0.0834, abs=0.01)
    assert found.uncertainty > measure(clean).uncertainty
    assert abs(found.latency - 0.0834) < 5 * found.uncertainty


def test_light_that_flickers_over_the_whole_image_does_not_count() -> None:
    clean = record(0.1)
    light = np.random.default_rng(2).integers(-20, 21, (len(clean.images), 1, 1))
    found = measure(
        replace(
            clean,
            images=(clean.images.astype(int) + light).clip(0, 255).astype(np.uint8),
        )
    )
    check(found)
    assert found.latency == pytest.approx(0.1, abs=0.003)


def test_lost_images_do_not_shift_the_result() -> None:
    whole = record(0.1)
    kept = np.random.default_rng(3).random(len(whole.images)) > 0.2
    found = measure(
        replace(whole, images=whole.images[kept], image_ns=whole.image_ns[kept])
    )
    check(found)
    assert found.latency == pytest.approx(0.1, abs=0.003)
    assert 1 / found.interval == pytest.approx(30, rel=0.01)


@pytest.fixture(scope="module")
def simulated() -> Recording:
    """The motion of a calibration by the simulated arm, drawn without delay."""
    world = World(BEGIN_NS)
    controller = EefController(SimulatedArm(world), Kinematics(), Limits())
    controller.reset()
    images, image_ns, joints, state_ns = [], [], [], []
    next_ns = world.time_ns
    for action in motion(1.0):
        assert not controller.execute(action).rejected
        for tick in range(20):
            if world.time_ns >= next_ns:
                next_ns += round(1e9 / 30)
                image = resize_area(world.render("over_shoulder", 60, 80), (60, 80))
                images.append(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
                image_ns.append(world.time_ns)
            if tick % 5 == 0:
                joints.append(world.joints)
                state_ns.append(world.time_ns)
            world.advance(0.01)
    world.close()
    return Recording(
        np.array(image_ns), np.array(images), np.array(state_ns), np.array(joints)
    )


@pytest.mark.parametrize("frames", [*range(7), 12, 30])
def test_a_delay_of_some_frames_is_recovered_exactly_in_simulation(
    simulated: Recording, frames: int
) -> None:
    shown = np.maximum(np.arange(len(simulated.images)) - frames, 0)
    found = measure(replace(simulated, images=simulated.images[shown]))
    check(found)
    assert round(found.frames) == frames
    assert found.latency == pytest.approx(frames / 30, abs=0.006)


# --- refused ------------------------------------------------------------------------------


def test_motion_that_repeats_itself_is_ambiguous() -> None:
    with pytest.raises(LatencyError, match="the motion repeats itself"):
        check(measure(record(0.1, to_and_fro)))


def test_an_arm_that_does_not_move_tells_nothing() -> None:
    with pytest.raises(
        LatencyError, match=r"the arm moved by 0.000 rad only; at least 0.3 rad are needed"
    ):
        measure(record(0.1, np.zeros_like))


def test_a_camera_that_does_not_see_the_arm_is_refused() -> None:
    recording = record(0.1)
    noise = np.random.default_rng(0).integers(0, 20, recording.images.shape, np.uint8)
    for images in (noise, np.zeros_like(noise)):
        with pytest.raises(LatencyError, match="Does the camera see the arm"):
            check(measure(replace(recording, images=images)))


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        (
            -0.1,
            r"best latency is -(99|100) ms; possible are 0 to 1000 ms: do the stamps .* same clock",
        ),
        (1.1, r"best latency is 110[01] ms; possible"),
        (-5.0, "hardly agree"),
        (3600.0, "only 0 images lie between arm states; .* same clock"),
    ],
)
def test_latency_beyond_what_is_possible_is_refused(latency: float, message: str) -> None:
    with pytest.raises(LatencyError, match=message):
        check(measure(record(latency)))


def test_parts_that_disagree_are_refused() -> None:
    """The camera becomes slower by 40 ms halfway."""
    recording = record(0.1)
    late = recording.image_ns + 40_000_000 * (np.arange(len(recording.image_ns)) > 400)
    with pytest.raises(LatencyError, match="the parts of the recording disagree"):
        check(measure(replace(recording, image_ns=late)))


def test_images_or_states_that_stop_are_refused() -> None:
    recording = record(0.1)
    some = np.r_[0:300, 330:700]
    with pytest.raises(
        LatencyError, match=r"the images stopped for 1.03 s; at most 0.5 s are allowed"
    ):
        measure(
            replace(
                recording,
                images=recording.images[some],
                image_ns=recording.image_ns[some],
            )
        )
    some = np.r_[0:300, 330:400]
    with pytest.raises(LatencyError, match=r"the arm states stopped for 1.5\d s"):
        measure(
            replace(
                recording, joints=recording.joints[some], state_ns=recording.state_ns[some]
            )
        )


def test_unstamped_or_missing_images_are_refused() -> None:
    recording = record(0.1)
    with pytest.raises(LatencyError, match="stamps of the images do not ascend"):
        measure(replace(recording, image_ns=np.zeros_like(recording.image_ns)))
    with pytest.raises(LatencyError, match="0 images were recorded"):
        measure(
            replace(
                recording,
                image_ns=recording.image_ns[:0],
                images=recording.images[:0],
            )
        )
    with pytest.raises(
        LatencyError, match="images lie between arm states; at least 100 are needed"
    ):
        measure(
            replace(
                recording,
                image_ns=recording.image_ns[:60],
                images=recording.images[:60],
            )
        )


# --- the parts of it ----------------------------------------------------------------------


def test_motion_ends_where_it_began_and_stays_within_one_move() -> None:
    actions = motion(0.7)
    places = np.cumsum(actions[:, :3], axis=0)
    np.testing.assert_allclose(places[-1], 0, atol=1e-12)
    np.testing.assert_allclose(places.max(axis=0), MOVE)
    np.testing.assert_allclose(places.min(axis=0), 0, atol=1e-12)
    assert (actions[:, 6] == 0.7).all()
    assert (motion(0.7) == actions).all()


def test_interpolation_goes_through_its_samples_and_is_exact_on_straight_lines() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.08, 50))
    values = rng.normal(size=(50, 3))
    np.testing.assert_allclose(interpolate(times, values, times), values, atol=1e-12)
    at = np.linspace(times[0], times[-1], 333)
    np.testing.assert_allclose(
        interpolate(times, np.outer(times, [1.0, -2.0]), at), np.outer(at, [1.0, -2.0])
    )


def test_correlation_is_numpys_and_zero_for_what_is_constant() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(size=(3, 40))
    np.testing.assert_allclose(correlate(a, b), [np.corrcoef(a, row)[0, 1] for row in b])
    assert (correlate(a, np.ones((2, 40))) == 0).all()
    assert (correlate(np.ones(40), b) == 0).all()


def test_peak_lies_between_the_points_of_the_curve() -> None:
    place, height = peak(0.9 - (LAGS - 0.1234) ** 2)
    assert place == pytest.approx(0.1234)
    assert height == pytest.approx(0.9)
    assert peak(LAGS) == (LAGS[-1], LAGS[-1])


def test_change_of_the_image_leaves_out_what_all_pixels_share() -> None:
    images = np.full((3, 4, 4), 100, np.uint8)
    images[1] += 30
    images[2] += 30
    images[2, 0] += 8
    np.testing.assert_allclose(image_change(images), [0.0, 2.0])
