"""The gateway's resize against torchvision and against OpenCLIP's own transforms."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from service.model_config import Preprocessing
from service.pipeline.inputs.preprocess import preprocess
from tests.parity.conftest import ExportedOpenClip

pytestmark = pytest.mark.torch

SIZES = [(64, 64), (80, 107), (107, 80), (640, 427), (333, 1000), (31, 200), (65, 64), (225, 224), (50, 50)]
# The gateway resamples the box that survives the crop, the references the whole picture. Pillow rounds its weights to
# fixed point for either, so grey levels (of 255) may differ by a few at sharp noise.
MAX_LEVELS = 3
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def _picture(width: int, height: int) -> Image.Image:
    """Smooth shapes with some noise: neither flat nor pure noise, as photographs are."""
    rng = np.random.default_rng(width * 10_000 + height)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / (5 + c)) + np.cos(y / (7 - c)) for c in range(3)], axis=-1)
    return Image.fromarray((waves * 50 + 120 + rng.normal(0, 12, waves.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_shortest_side_and_centre_crop_equal_torchvision(width: int, height: int, size: int) -> None:
    picture = _picture(width, height)
    reference = Compose([Resize(size, InterpolationMode.BICUBIC, antialias=True), CenterCrop(size)])
    expected = np.asarray(reference(picture)).astype(int)
    found = preprocess(picture, Preprocessing(size, "shortest", "bicubic", MEAN, STD)).astype(int)
    assert np.abs(found - expected).max() <= MAX_LEVELS
    assert np.abs(found - expected).mean() < 0.3


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_every_resize_mode_equals_openclips_transform(resize_mode: str, interpolation: str) -> None:
    preprocessing = Preprocessing(96, resize_mode, interpolation, MEAN, STD)  # type: ignore[arg-type]  # parametrised with its literals
    reference = image_transform(96, False, MEAN, STD, resize_mode=resize_mode, interpolation=interpolation)
    for width, height in SIZES:
        picture = _picture(width, height)
        expected = reference(picture).permute(1, 2, 0).numpy()
        found = (preprocess(picture, preprocessing) / 255 - np.array(MEAN)) / np.array(STD)
        assert np.abs(found - expected).max() <= (MAX_LEVELS + 0.1) / 255 / min(STD)


def test_an_exported_models_preprocessing_is_openclips_own(openclip: ExportedOpenClip) -> None:
    served = openclip.backbone.preprocessing
    config = open_clip.get_model_preprocess_cfg(openclip.backbone.model)
    reference = image_transform(
        config["size"], False, config["mean"], config["std"], config["resize_mode"], config["interpolation"]
    )
    picture = _picture(300, 200)
    expected = reference(picture).permute(1, 2, 0).numpy()
    found = (preprocess(picture, served) / 255 - np.array(served.mean)) / np.array(served.std)
    assert np.abs(found - expected).max() <= (MAX_LEVELS + 0.1) / 255 / min(served.std)
