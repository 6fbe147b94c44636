"""Statistics of LeRobot data sets, against those of NumPy over all values."""

from __future__ import annotations

import numpy as np

from ptr_training.importers.lerobot.stats import (
    QUANTILES,
    feature_stats,
    image_stats,
    level_counts,
)


def test_statistics_of_a_feature_are_those_of_each_dimension() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    stats = feature_stats(values)
    exact = values.astype(float)
    np.testing.assert_array_equal(stats["min"], exact.min(0))
    np.testing.assert_array_equal(stats["max"], exact.max(0))
    np.testing.assert_allclose(stats["mean"], exact.mean(0))
    np.testing.assert_allclose(stats["std"], exact.std(0))
    for name, quantile in QUANTILES.items():
        np.testing.assert_allclose(stats[name], np.quantile(exact, quantile, axis=0))
    assert stats["count"] == [50]


def test_a_feature_of_one_number_has_lists_of_one() -> None:
    stats = feature_stats(np.array([False, True]))
    assert (stats["mean"], stats["max"], stats["count"]) == ([0.5], [1.0], [2])


def test_statistics_of_images_are_those_of_their_pixels() -> None:
    frames = np.random.default_rng(0).integers(3, 250, (4, 6, 5, 3)).astype(np.uint8)
    counts = level_counts(frames)
    assert counts.sum(1).tolist() == [4 * 6 * 5] * 3
    stats = image_stats(counts, len(frames))
    pixels = frames.reshape(-1, 3) / 255
    assert np.shape(stats["q01"]) == (3, 1, 1)
    np.testing.assert_allclose(np.squeeze(stats["min"]), pixels.min(0))
    np.testing.assert_allclose(np.squeeze(stats["max"]), pixels.max(0))
    np.testing.assert_allclose(np.squeeze(stats["mean"]), pixels.mean(0))
    np.testing.assert_allclose(np.squeeze(stats["std"]), pixels.std(0))
    median = np.quantile(pixels, 0.5, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(np.squeeze(stats["q50"]), median)
    assert stats["count"] == [4]


def test_counts_of_several_episodes_add_up() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)
    parts = level_counts(frames[:2]) + level_counts(frames[2:])
    np.testing.assert_array_equal(parts, level_counts(frames))
