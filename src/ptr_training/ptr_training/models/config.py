"""Configuration of the networks, the section `network` of a training configuration."""

from __future__ import annotations

from dataclasses import dataclass

from ptr_training.errors import TrainingError

from .ranges import AT_LEAST_ONE, BELOW_ONE, NOT_NEGATIVE, check_ranges

FROZEN = ("r3m", "mae")
"""Encoders whose weights come from a file and are not learnt."""

RESNETS = ("resnet18", "resnet34", "resnet50")

_CHOICES = {
    "encoder": ("small", "cnn", "impala", *RESNETS, *FROZEN),
    "norm": ("group", "batch"),
    "aggregation": ("", "embedding", "softmax", "average", "flatten"),
    "refeed": ("action+latent", "action", "nothing"),
}
_RANGES = {
    "spatial_features": NOT_NEGATIVE,
    "cnn_layers": AT_LEAST_ONE,
    "latent": AT_LEAST_ONE,
    "dropout": BELOW_ONE,
    "heads": AT_LEAST_ONE,
}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and kinds of the networks; the defaults are the official code's launch settings."""

    # small (ours, for a CPU), cnn (the paper's "Small"), impala, resnet18/34/50, r3m, mae
    encoder: str = "resnet34"
    # r3m and mae only: file of the pre-trained encoder, which is not learnt
    weights: str = ""
    # small encoder only: the task id scales and shifts its features
    film: bool = False
    # of the small encoder and the ResNets: group, or batch (paper, Table 13)
    norm: str = "group"
    # embedding, softmax, average or flatten (paper, Table 11); empty: the encoder's usual one
    aggregation: str = ""
    # of the embedding, per channel of the feature map; 0: 4 for a ResNet-50, 8 for others
    spatial_features: int = 0
    # of the cnn: 4 in the official code, 3 in the paper's text
    cnn_layers: int = 4
    # size of the vector that an encoder returns
    latent: int = 256
    # widths of the hidden layers of policy and critic
    hidden: tuple[int, ...] = (256, 256, 256)
    # between the layers of the policy
    dropout: float = 0.0
    # Q functions of the critic
    heads: int = 2
    # inputs that skip to every layer of the critic; figure 2 of the paper: action
    refeed: str = "action+latent"
    # by the mean and the standard deviation of the first training data
    standardize_proprio: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                names = ", ".join(filter(None, allowed))
                raise TrainingError(
                    f"network.{name} is {value!r}; it must be one of {names}"
                )
        if self.is_frozen != bool(self.weights):
            raise TrainingError(
                f"network.weights is {self.weights!r} with encoder {self.encoder}; "
                f"the encoders {' and '.join(FROZEN)} need the file of their weights, "
                "the others take none"
            )
        check_ranges("network", self, _RANGES)
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(
                f"network.hidden is {list(self.hidden)}; "
                "it must be a list of widths, each at least 1"
            )

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder keeps the weights that it was given."""
        return self.encoder in FROZEN

    @property
    def critic_skip_inputs(self) -> str:
        """Inputs that skip to every layer of the critic: `refeed` under its plain name."""
        return self.refeed
