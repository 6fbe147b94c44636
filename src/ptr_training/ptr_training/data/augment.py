"""Image augmentation as pure functions on batches, on the device of the images.

Random numbers come from the `BatchRng` given.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distributed import BatchRng

BRIGHTNESS = 0.2  # added, uniform in +-
CONTRAST = 0.1  # factor 1 +-, about each channel's mean
SATURATION = 0.1  # factor 1 +-
HUE = 0.03  # turns of the colour circle, +-
JITTER_PROBABILITY = 0.8


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


def color_jitter(images: Tensor, rng: BatchRng) -> Tensor:
    """Return images with brightness, contrast, saturation and hue changed, in random order.

    Args:
        images: Shape (B, 3, H, W), float in [0, 1].
        rng: Source of the random numbers.

    Source: official code, `jaxrl2/agents/drq/augmentations.py`. There each image has its
    own order of the four changes; here a batch shares one order, which leaves the
    distribution of a single image as it was and needs 4 passes instead of 16.
    """

    def uniform(low: float, high: float) -> Tensor:
        """Return a number for each image, shape (B, 1, 1, 1)."""
        return low + (high - low) * rng.uniform((len(images), 1, 1, 1))

    changed = images
    for change in rng.permutation(4):
        if change == 0:
            changed = changed + uniform(-BRIGHTNESS, BRIGHTNESS)
        elif change == 1:
            mean = changed.mean((2, 3), keepdim=True)
            changed = mean + (changed - mean) * uniform(1 - CONTRAST, 1 + CONTRAST)
        elif change == 2:
            changed = _saturate(changed, uniform(1 - SATURATION, 1 + SATURATION))
        else:
            changed = _turn_hue(changed, uniform(-HUE, HUE))
        changed = changed.clamp(0.0, 1.0)

    chosen = rng.uniform((len(images), 1, 1, 1)) < JITTER_PROBABILITY
    return torch.where(chosen, changed, images)


def _saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the saturation of HSV, which moves the channels away from their maximum.

    Args:
        images: Shape (B, 3, H, W), float in [0, 1].
        factor: Of the saturation, shape (B, 1, 1, 1); limited so that none passes 1.
    """
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    # saturation = chroma / value may not pass 1
    limit = value / chroma.clamp(min=1e-6)
    return value - (value - images) * torch.minimum(factor, limit)


def _turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV.

    Channel n of an HSV colour is v - c max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6.

    Args:
        images: Shape (B, 3, H, W), float in [0, 1].
        turns: Of the colour circle, shape (B, 1, 1, 1).
    """
    value, brightest = images.max(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    red, green, blue = images.split(1, 1)
    safe = chroma.clamp(min=1e-6)
    sixths = torch.where(
        brightest == 0,
        (green - blue) / safe,
        torch.where(brightest == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    offsets = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    k = torch.remainder(offsets + sixths + 6 * turns, 6.0)
    share = torch.minimum(torch.minimum(k, 4 - k), torch.ones_like(k)).clamp(min=0.0)
    return value - chroma * share


class Augmentation:
    """The augmentation of one run: shift, then colour jitter if wanted."""

    def __init__(self, shift: int, jitter: bool) -> None:
        self.shift = shift
        self.jitter = jitter

    def __call__(self, images: Tensor, rng: BatchRng) -> Tensor:
        """Return (B, 3, H, W) float32 in [0, 1] from (B, H, W, 3) uint8."""
        if self.shift:
            images = random_shift(images, self.shift, rng)
        prepared = to_network(images)
        if self.jitter:
            # the official code returns to uint8 by truncation afterwards
            prepared = (color_jitter(prepared, rng) * 255.0).floor_() / 255.0
        return prepared
