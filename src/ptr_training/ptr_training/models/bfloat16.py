"""bfloat16 copies of weights, kept beside the float32 ones.

Autocast casts every weight anew in every pass. An update has several passes and changes a
network once, so a copy that is kept until its weight changes saves most of the casts. Values and
gradients are those of autocast, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .aggregation import SpatialEmbedding

_CAST = (nn.Conv2d, nn.Linear, SpatialEmbedding)
"""Modules that autocast runs in bfloat16; norms keep their float32 weights."""


class Bfloat16Weights:
    """Runs a module with bfloat16 copies of its weights; autocast does the rest.

    Args:
        module: On its device already; it is not changed.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._weights: dict[str, nn.Parameter] = {}
        for prefix, part in module.named_modules():
            if isinstance(part, _CAST):
                for name, weight in part.named_parameters(recurse=False):
                    self._weights[f"{prefix}.{name}" if prefix else name] = weight
        self._copies = [
            torch.empty_like(each, dtype=torch.bfloat16, requires_grad=False)
            for each in self._weights.values()
        ]
        self._versions = [-1] * len(self._copies)

    def __call__(self, *inputs: Tensor) -> Any:
        """Return what the module returns, with gradients for its float32 weights."""
        self._refresh()
        used = {}
        for (name, weight), copy in zip(self._weights.items(), self._copies, strict=True):
            learns = weight.requires_grad and torch.is_grad_enabled()
            used[name] = _Cast.apply(weight, copy) if learns else copy
        return functional_call(self._module, used, inputs)

    @torch.no_grad()
    def _refresh(self) -> None:
        """Copy the weights that were changed in place since they were copied."""
        new, old = [], []
        for index, weight in enumerate(self._weights.values()):
            if weight._version != self._versions[index]:
                self._versions[index] = weight._version
                new.append(weight.detach())
                old.append(self._copies[index])
        if old:
            torch._foreach_copy_(old, new)


class _Cast(torch.autograd.Function):
    """A cast whose result is known already."""

    @staticmethod
    def forward(context: Any, weight: Tensor, copy: Tensor) -> Tensor:
        """Return the copy."""
        return copy.view_as(copy)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the weight in float32."""
        return gradients[0].float(), None
