"""The transformer block that the Behavior Transformer and the masked autoencoder share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm attention and two linear layers, each added to its input.

    Args:
        width: Size of a token.
        heads: Of the attention.
        causal: A token sees only itself and those before it.
        dropout: After attention and linear layers, and of the attention's weights.
    """

    def __init__(
        self, width: int, heads: int, *, causal: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.norm_1 = nn.LayerNorm(width)
        self.norm_2 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        # the name is a key of checkpoints
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, T, W) from tokens (B, T, W)."""
        size, length, width = x.shape
        parts = self.qkv(self.norm_1(x))
        parts = parts.view(size, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, T, …) each
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=rate, is_causal=self.causal
        )
        merged = mixed.transpose(1, 2).reshape(size, length, width)
        x = x + self.drop(self.project(merged))
        return x + self.drop(self.perceptron(self.norm_2(x)))
