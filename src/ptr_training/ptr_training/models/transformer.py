"""The transformer block that the Behavior Transformer and the masked autoencoder share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm attention and perceptron, each added to its input.

    Args:
        width: Of the tokens.
        heads: Of the attention.
        causal: A token sees only itself and those before it.
        dropout: After attention and perceptron, and of the attention's weights.
    """

    def __init__(
        self, width: int, heads: int, *, causal: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, T, W) from tokens (B, T, W)."""
        size, length, width = x.shape
        parts = self.qkv(self.norm_1(x)).view(
            size, length, 3, self.heads, width // self.heads
        )
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(
            0
        )  # (B, heads, T, W / heads) each
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=rate, is_causal=self.causal
        )
        x = x + self.drop(self.project(mixed.transpose(1, 2).reshape(size, length, width)))
        return x + self.drop(self.perceptron(self.norm_2(x)))
