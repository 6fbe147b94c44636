"""Augmentation: what it keeps, how far it moves, and that colours agree with colorsys."""

from __future__ import annotations

import colorsys

import torch

from ptr_training.data import augment
from ptr_training.data.augment import Augmentation, random_shift, to_network
from ptr_training.data.distributed import BatchRng


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rng(seed: int = 0) -> BatchRng:
    return BatchRng(generator(seed))


def test_shifted_image_is_a_crop_of_the_padded_one() -> None:
    images = torch.randint(
        0, 256, (32, 10, 12, 3), dtype=torch.uint8, generator=generator()
    )
    shifted = random_shift(images, 2, rng(1))
    padded = torch.nn.functional.pad(
        images.permute(0, 3, 1, 2).float(), (2, 2, 2, 2), mode="replicate"
    ).byte()
    offsets = set()
    for image, around in zip(shifted, padded.permute(0, 2, 3, 1), strict=True):
        crops = {(y, x): around[y : y + 10, x : x + 12] for y in range(5) for x in range(5)}
        offsets.add(
            next(offset for offset, crop in crops.items() if torch.equal(crop, image))
        )
    assert len(offsets) > 10
    assert {y for y, _ in offsets} == {x for _, x in offsets} == set(range(5))


def test_equal_generators_give_equal_images() -> None:
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8, generator=generator())
    both = Augmentation(4, jitter=True)
    assert torch.equal(both(images, rng(3)), both(images, rng(3)))
    assert not torch.equal(both(images, rng(3)), both(images, rng(4)))


def test_without_augmentation_images_are_only_scaled() -> None:
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8, generator=generator())
    torch.testing.assert_close(
        Augmentation(0, jitter=False)(images, rng()), to_network(images)
    )


def test_jitter_stays_in_range_and_leaves_some_images_alone() -> None:
    images = torch.rand(200, 3, 4, 4, generator=generator())
    changed = augment.color_jitter(images, rng(1))
    assert 0.0 <= float(changed.min()) <= float(changed.max()) <= 1.0
    untouched = (changed == images).all((1, 2, 3)).float().mean()
    assert 0.1 < float(untouched) < 0.3


def test_hue_and_saturation_agree_with_colorsys() -> None:
    colors = torch.rand(50, 3, 1, 1, generator=generator())
    turn, fade = (torch.full((50, 1, 1, 1), drawn) for drawn in (1.0, 0.0))
    turned = augment._turn_hue(colors, turn).flatten(1)  # by HUE
    faded = augment._saturate(colors, fade).flatten(1)  # by 1 - SATURATION
    for color, a, b in zip(
        colors.flatten(1).tolist(), turned.tolist(), faded.tolist(), strict=True
    ):
        h, s, v = colorsys.rgb_to_hsv(*color)
        torch.testing.assert_close(
            a, list(colorsys.hsv_to_rgb((h + augment.HUE) % 1, s, v)), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            b, list(colorsys.hsv_to_rgb(h, 0.9 * s, v)), atol=1e-5, rtol=0
        )


def test_changes_of_colour_are_the_same_whether_the_host_knows_their_order_or_not() -> None:
    images = torch.rand(6, 3, 5, 4, generator=generator())
    known = augment.color_jitter(images, rng(2))
    assert torch.equal(known, augment.color_jitter(images, rng(2), augment.apply_masked))
    assert not torch.equal(
        known, augment.color_jitter(images, rng(3), augment.apply_masked)
    )
