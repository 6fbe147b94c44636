"""Image augmentation as pure functions on batches, on the device of the images.

Random numbers come from the `BatchRng` given.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .distributed import BatchRng

BRIGHTNESS = 0.2  # added, uniform in +-
CONTRAST = 0.1  # factor 1 +-, about each channel's mean
SATURATION = 0.1  # factor 1 +-
HUE = 0.03  # turns of the colour circle, +-
JITTER_PROBABILITY = 0.8

Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images, number of the change and random numbers to images, as `apply_change` has them."""


def to_network(images: Tensor) -> Tensor:
    """Return images (B, H, W, 3) uint8 as (B, 3, H, W) float32 in [0, 1].

    The memory stays channels-last.
    """
    return images.permute(0, 3, 1, 2).float() / 255.0


def random_shift(images: Tensor, pad: int, rng: BatchRng) -> Tensor:
    """Return each image moved by up to `pad` pixels, edges repeated: a crop after padding.

    Columns are cut as windows of whole rows, so that one gather copies runs of W pixels.

    Args:
        images: Shape (B, H, W, 3).
        pad: Largest shift in pixels; the official code uses 4 on 128 x 128.
        rng: Source of the random numbers.
    """
    size, height, width, channels = images.shape
    device = images.device
    shift = rng.integers(0, 2 * pad + 1, (size, 2, 1))
    padded = images.index_select(
        2, torch.arange(-pad, width + pad, device=device).clamp_(0, width - 1)
    )
    # (B, H, 2 pad + 1, W * 3)
    windows = padded.flatten(2).unfold(2, width * channels, channels)
    rows = torch.arange(height, device=device) + shift[:, 0] - pad
    rows.clamp_(0, height - 1)  # (B, H)
    batch = torch.arange(size, device=device)[:, None]
    return windows[batch, rows, shift[:, 1]].unflatten(2, (width, channels))


def color_jitter(images: Tensor, rng: BatchRng, apply: Change | None = None) -> Tensor:
    """Return images with brightness, contrast, saturation and hue changed, in random order.

    Args:
        images: Shape (B, 3, H, W), float in [0, 1].
        rng: Source of the random numbers.
        apply: Makes one of the changes [`apply_change`].

    Source: official code, `jaxrl2/agents/drq/augmentations.py`. There each image has its
    own order of the four changes; here a batch shares one order, which leaves the
    distribution of a single image as it was and needs 4 passes instead of 16.
    """
    apply = apply or apply_change
    shape = (len(images), 1, 1, 1)
    changed = images
    for number in rng.permutation(len(CHANGES)):
        changed = apply(changed, number, rng.uniform(shape))
    chosen = rng.uniform(shape) < JITTER_PROBABILITY
    return torch.where(chosen, changed, images)


def apply_change(images: Tensor, number: Tensor, drawn: Tensor) -> Tensor:
    """Return images after one of `CHANGES`, limited to [0, 1].

    A GPU makes all four and keeps one, because the host does not know the number.

    Args:
        images: Shape (B, 3, H, W), float in [0, 1].
        number: Of the change, a tensor of no dimensions.
        drawn: Random number in [0, 1) for each image, shape (B, 1, 1, 1).
    """
    if number.device.type == "cpu":
        return CHANGES[int(number)](images, drawn).clamp(0.0, 1.0)
    return apply_masked(images, number, drawn)


def apply_masked(images: Tensor, number: Tensor, drawn: Tensor) -> Tensor:
    """Return the same as `apply_change`, without a look at the number."""
    changed = images
    for index, change in enumerate(CHANGES):
        changed = torch.where(number == index, change(images, drawn), changed)
    return changed.clamp(0.0, 1.0)


def _between(low: float, high: float, drawn: Tensor) -> Tensor:
    """Return numbers in [low, high) from numbers in [0, 1)."""
    return low + (high - low) * drawn


def _brighten(images: Tensor, drawn: Tensor) -> Tensor:
    return images + _between(-BRIGHTNESS, BRIGHTNESS, drawn)


def _contrast(images: Tensor, drawn: Tensor) -> Tensor:
    mean = images.mean((2, 3), keepdim=True)
    return mean + (images - mean) * _between(1 - CONTRAST, 1 + CONTRAST, drawn)


def _saturate(images: Tensor, drawn: Tensor) -> Tensor:
    """Scale the saturation of HSV, which moves the channels away from their maximum."""
    factor = _between(1 - SATURATION, 1 + SATURATION, drawn)
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    # saturation = chroma / value may not pass 1
    limit = value / chroma.clamp(min=1e-6)
    return value - (value - images) * torch.minimum(factor, limit)


def _turn_hue(images: Tensor, drawn: Tensor) -> Tensor:
    """Turn the hue of HSV.

    Channel n of an HSV colour is v - c max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6.
    """
    turns = _between(-HUE, HUE, drawn)
    value, brightest = images.max(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    red, green, blue = images.split(1, 1)
    safe = chroma.clamp(min=1e-6)
    sixths = torch.where(
        brightest == 0,
        (green - blue) / safe,
        torch.where(brightest == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    offsets = torch.arange(5.0, 0.0, -2.0, device=images.device).view(1, 3, 1, 1)
    k = torch.remainder(offsets + sixths + 6 * turns, 6.0)
    share = torch.minimum(torch.minimum(k, 4 - k), torch.ones_like(k)).clamp(min=0.0)
    return value - chroma * share


CHANGES = (_brighten, _contrast, _saturate, _turn_hue)
"""From images (B, 3, H, W) in [0, 1] and a random number in [0, 1) for each."""


class Augmentation:
    """The augmentation of one run: shift, then colour jitter if wanted."""

    def __init__(self, shift: int, jitter: bool) -> None:
        self.shift = shift
        self.jitter = jitter
        self._change: Change = apply_change

    def compile(self) -> None:
        """Have the changes of colour compiled at their first use: one pass in place of many."""
        self._change = torch.compile(apply_masked)

    def __call__(self, images: Tensor, rng: BatchRng) -> Tensor:
        """Return (B, 3, H, W) float32 in [0, 1] from (B, H, W, 3) uint8."""
        if self.shift:
            images = random_shift(images, self.shift, rng)
        prepared = to_network(images)
        if self.jitter:
            # the official code returns to uint8 by truncation afterwards
            prepared = (color_jitter(prepared, rng, self._change) * 255.0).floor_() / 255.0
        return prepared
