"""Motion of the arm from `steps.npy`: rotations, statistics of the commands, lag and gain."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from moving_episodes import CARD, changed, make_episode, set_rows, write

from ptr_training.inspection.episode_metrics import measure
from ptr_training.inspection.motion import Dimension, regress, turns


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_lag_of_the_arm_is_found(tmp_path: Path, lag: int) -> None:
    def late(proprio: np.ndarray) -> None:
        proprio[lag:] = proprio[: len(proprio) - lag].copy()
        proprio[:lag] = proprio[0]
        proprio[:, :3] *= 0.8

    episodes = [changed(make_episode(f"e{k}", k, 40), proprio=late) for k in range(5)]
    measures, found, _ = measure(write(tmp_path / "s", *episodes))
    assert {each.lag for each in measures} == {lag}
    assert [each.lag for each in found[:3]] == [lag] * 3
    assert [each.gain for each in found[:3]] == pytest.approx([0.8] * 3, abs=1e-3)
    assert found[0].correlation[lag] == pytest.approx(1.0, abs=1e-3)


def test_statistics_of_actions_are_those_of_all_steps(tmp_path: Path) -> None:
    episodes = [make_episode(f"e{k}", k) for k in range(3)]
    episodes[0] = changed(episodes[0], executed=set_rows(0, 0, 0.06))
    found = measure(write(tmp_path / "s", *episodes))[1]
    values = np.concatenate([each.executed for each in episodes])
    by_name: dict[str, Dimension] = {each.name: each for each in found}
    assert list(by_name) == list(CARD.action_names)
    dx, gripper = by_name["dx"], by_name["gripper"]
    assert (dx.minimum, dx.mean, dx.std, dx.maximum) == pytest.approx(
        (values[:, 0].min(), values[:, 0].mean(), values[:, 0].std(), 0.06), rel=1e-5
    )
    assert dx.scaled_std == pytest.approx(dx.std / 0.05)
    assert dx.beyond == dx.at_bounds == pytest.approx(1 / len(values))
    assert (gripper.at_bounds, gripper.beyond) == (1.0, 0.0)


def test_constant_dimension_has_no_correlation(tmp_path: Path) -> None:
    still = changed(make_episode("e", 0), executed=set_rows(slice(None), 4, 0))
    pitch = measure(write(tmp_path / "s", still))[1][4]
    assert pitch.scaled_std == 0
    assert np.isnan(pitch.correlation).all()
    assert np.isnan(pitch.gain)


def test_turn_leads_from_one_orientation_to_the_next() -> None:
    angles = np.random.default_rng(0).uniform(-3, 3, (50, 3))
    rotations = [
        cv2.Rodrigues(np.array([0, 0, yaw]))[0]
        @ cv2.Rodrigues(np.array([0, pitch, 0]))[0]
        @ cv2.Rodrigues(np.array([roll, 0, 0]))[0]
        for roll, pitch, yaw in angles
    ]
    found = turns(angles)
    assert np.linalg.norm(found, axis=1).max() <= np.pi + 1e-9
    for turn, before, after in zip(found, rotations, rotations[1:], strict=False):
        np.testing.assert_allclose(cv2.Rodrigues(turn)[0] @ before, after, atol=1e-9)
    np.testing.assert_allclose(
        turns(np.array([[0, 0, 3.1], [0, 0, -3.1]])), [[0, 0, 2 * np.pi - 6.2]], atol=1e-9
    )


def test_regression_is_that_of_the_textbook() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 2))
    b = a * [2.0, -0.5] + rng.normal(size=(40, 2))
    correlation, slope = regress(a, b)
    for k in range(2):
        assert correlation[k] == pytest.approx(np.corrcoef(a[:, k], b[:, k])[0, 1])
        assert slope[k] == pytest.approx(np.polyfit(a[:, k], b[:, k], 1)[0])
