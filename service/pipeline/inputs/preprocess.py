"""A picture to the tensor one tower takes: resize and crop. Normalisation happens inside the graph."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.model_config import Interpolation, Preprocessing

RESAMPLING: Final[dict[Interpolation, Image.Resampling]] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}

Box = tuple[float, float, float, float]


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """`uint8[size, size, 3]` from an RGB picture, as torchvision's `Resize` and `CenterCrop` on a Pillow image give it.

    Resizing and cropping are one pass: only the box that survives the crop is resampled. Besides being faster this
    bounds the work for a picture of one pixel by a million, whose full resize would not fit into memory.
    """
    size = preprocessing.image_size
    box = _centre_box(image.width, image.height, size) if preprocessing.crop == "center" else None
    resized = image.resize((size, size), RESAMPLING[preprocessing.interpolation], box=box)
    return np.asarray(resized)


def _centre_box(width: int, height: int, size: int) -> Box:
    """The part of the source, in source pixels, that lands in the centre crop.

    Rounding follows torchvision: the longer side is truncated when resized, the crop's offset is rounded to even.
    """
    short = min(width, height)
    resized_width = int(size * width / short)
    resized_height = int(size * height / short)
    left, top = round((resized_width - size) / 2), round((resized_height - size) / 2)
    scale_x, scale_y = width / resized_width, height / resized_height
    right, bottom = min((left + size) * scale_x, float(width)), min((top + size) * scale_y, float(height))
    return (left * scale_x, top * scale_y, right, bottom)
