from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from service.model_config import Interpolation, Preprocessing, ResizeMode
from service.pipeline.inputs.preprocess import preprocess
from tests.support.images import photograph, resize_then_crop

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def settings(mode: ResizeMode = "shortest", interpolation: Interpolation = "bicubic", size: int = 64) -> Preprocessing:
    return Preprocessing(size, mode, interpolation, MEAN, STD)


@pytest.mark.parametrize("shape", [(64, 64), (80, 60), (500, 375), (375, 500), (333, 77), (40, 31), (1200, 65)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_one_pass_equals_resize_and_crop(shape: tuple[int, int], interpolation: Interpolation) -> None:
    image = photograph(*shape)
    resampling = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    reference = resize_then_crop(image, 64, resampling).astype(int)
    difference = np.abs(preprocess(image, settings(interpolation=interpolation)).astype(int) - reference)
    # Pillow takes the box as single-precision floats: here and there a value rounds the other way.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05


def test_squash_uses_the_whole_picture() -> None:
    image = photograph(500, 375)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))
    assert np.array_equal(preprocess(image, settings("squash")), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_tiny_pictures_are_enlarged(shape: tuple[int, int]) -> None:
    tensor = preprocess(photograph(*shape), settings())
    assert tensor.shape == (64, 64, 3)
    assert tensor.dtype == np.uint8


def test_a_picture_of_one_pixel_by_a_million_needs_no_memory() -> None:
    image = Image.new("RGB", (1_000_000, 1), "red")
    tracemalloc.start()
    tensor = preprocess(image, settings())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tensor.shape == (64, 64, 3)
    assert peak_bytes < 10_000_000  # resized as a whole it would be 12 GB
