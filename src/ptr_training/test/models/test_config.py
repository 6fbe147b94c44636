"""Configuration of the networks: values that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder": "resnet101"},
            "network.encoder is 'resnet101'; it must be one of small, cnn, impala, resnet18",
        ),
        ({"norm": "layer"}, "network.norm is 'layer'; it must be one of group, batch"),
        (
            {"aggregation": "max"},
            "network.aggregation is 'max'; it must be one of embedding",
        ),
        ({"refeed": "latent"}, "network.refeed is 'latent'"),
        ({"dropout": 1.0}, r"network.dropout is 1.0; it must be in \[0, 1\)"),
        ({"dropout": -0.1}, r"network.dropout is -0.1; it must be in \[0, 1\)"),
        ({"latent": 0}, "network.latent is 0; it must be at least 1"),
        ({"heads": 0}, "network.heads is 0; it must be at least 1"),
        ({"cnn_layers": 0}, "network.cnn_layers is 0; it must be at least 1"),
        ({"spatial_features": -1}, "network.spatial_features is -1; it must be at least 0"),
        ({"hidden": ()}, r"network.hidden is \[\]; it must be a list of widths"),
        ({"hidden": (64, 0)}, r"network.hidden is \[64, 0\]; .* each at least 1"),
        ({"encoder": "r3m"}, "network.weights is '' with encoder r3m"),
        ({"weights": "r3m.pt"}, "network.weights is 'r3m.pt' with encoder resnet34"),
    ],
)
def test_impossible_networks_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        NetworkConfig(**change)


def test_only_encoders_from_a_file_are_frozen() -> None:
    assert not NetworkConfig().is_frozen
    assert NetworkConfig(encoder="r3m", weights="r3m.pt").is_frozen
    assert NetworkConfig(encoder="mae", weights="run").is_frozen
