"""Aggregations over the image, by hand."""

from __future__ import annotations

import pytest
import torch

from ptr_training.models.aggregation import Average, SpatialEmbedding, SpatialSoftmax


def test_spatial_embedding_is_the_sum_over_positions_of_a_product() -> None:
    layer = SpatialEmbedding(3, 4, 5, 2)
    x = torch.randn(6, 3, 4, 5)
    kernel = layer.kernel.view(3, 4, 5, 2)
    torch.testing.assert_close(
        layer(x), torch.einsum("bchw,chwf->bcf", x, kernel).flatten(1)
    )


def test_spatial_softmax_finds_the_bright_pixel() -> None:
    x = torch.zeros(1, 2, 5, 9)
    x[0, 0, 0, 8] = x[0, 1, 4, 0] = 100.0  # top right, bottom left
    x_right, x_left, y_top, y_bottom = SpatialSoftmax(5, 9)(x)[0].tolist()
    assert (x_right, y_top, x_left, y_bottom) == pytest.approx((1, -1, -1, 1), abs=1e-4)


def test_average_is_the_mean_over_the_image() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(Average()(x), x.flatten(2).mean(2))
