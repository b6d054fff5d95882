"""Batched augmentation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.data.augment import Augmentation, augment, soften

pytestmark = pytest.mark.torch

STILL = Augmentation(
    scale=(1.0, 1.0), rotation_degrees=0.0, shift=0.0, contrast=0.0, brightness=0.0, saturation=0.0, stretch=0.0
)


def _images(n: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (n, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_equal_generators_give_equal_batches() -> None:
    first, second = (augment(_images(), Augmentation(), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)


def test_values_stay_between_zero_and_one() -> None:
    batch = augment(_images(64), Augmentation(), torch.Generator().manual_seed(1))
    assert batch.shape == (64, 3, 16, 16)
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_without_strength_an_image_stays_itself_or_is_mirrored() -> None:
    images = _images(8)
    plain = images.permute(0, 3, 1, 2).float() / 255
    for original, found in zip(plain, augment(images, STILL, torch.Generator().manual_seed(2)), strict=True):
        kept, mirrored = (found - original).abs().max(), (found - original.flip(-1)).abs().max()
        assert min(kept, mirrored) < 1e-4


def test_a_smaller_side_gives_smaller_images() -> None:
    batch = augment(_images(), Augmentation(), torch.Generator().manual_seed(1), side=12)
    assert batch.shape == (4, 3, 12, 12)


def test_what_must_not_be_mirrored_stays_as_it_is() -> None:
    images = _images(8)
    strength = replace(STILL, mirror=0.0)
    found = augment(images, strength, torch.Generator().manual_seed(2))
    assert torch.allclose(found, images.permute(0, 3, 1, 2).float() / 255, atol=1e-4)


def test_negatives_are_as_frequent_as_asked_for() -> None:
    images = _images(200)
    found = augment(images, replace(STILL, mirror=0.0, invert=0.25), torch.Generator().manual_seed(3))
    plain = images.permute(0, 3, 1, 2).float() / 255
    negatives = [(1 - image - original).abs().max() < 1e-4 for image, original in zip(found, plain, strict=True)]
    assert 30 <= sum(map(bool, negatives)) <= 70


def test_softening_is_what_resampling_does_on_average() -> None:
    """A dot, shifted by random fractions of a pixel and back by whole ones, is seen as soft as `soften` makes it."""
    side, draws = 16, 4000
    dot = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    dot[0, 8, 8] = 200
    # Shifts are drawn relative to half a side: these reach half a pixel.
    half_a_pixel = replace(STILL, shift=1 / side, mirror=0.0)
    moved = augment(dot.expand(draws, -1, -1, -1), half_a_pixel, torch.Generator().manual_seed(3))
    expected = soften(dot.permute(0, 3, 1, 2).float() / 255)[0]
    torch.testing.assert_close(moved.mean(dim=0), expected, rtol=0, atol=0.01)


def test_softening_leaves_an_even_picture_as_it_is() -> None:
    even = torch.full((2, 3, 5, 7), 0.3)
    torch.testing.assert_close(soften(even), even)
