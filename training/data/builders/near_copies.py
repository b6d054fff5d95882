"""Near copies: pictures that are the same to the eye, though their bytes and digests differ.

Two pictures are near copies when their 16 by 16 thumbnails correlate: the cosine of the RGB values after their mean is
taken away. Without that step any two small drawings on white would be alike, since most of what they show is white.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from service.model_config import Preprocessing
from service.pipeline.inputs.decode import ImageLimits, decode
from service.pipeline.inputs.preprocess import preprocess

THRESHOLD: Final = 0.97
THUMBNAIL_SIDE: Final = 16
_ROWS_AT_ONCE: Final = 2048
_LIMITS: Final = ImageLimits(max_bytes=1 << 30, max_pixels=1 << 30)
_AS_TOWERS_SEE: Final = Preprocessing(
    image_size=64, resize_mode="shortest", interpolation="bicubic", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
)


def thumbnails(images: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """float32[n, 768], one unit row per encoded picture (zero for one of a single grey)."""
    rows = np.empty((len(images), THUMBNAIL_SIDE**2 * 3), dtype=np.float32)
    block = _AS_TOWERS_SEE.image_size // THUMBNAIL_SIDE
    for i, image in enumerate(images):
        pixels = preprocess(decode(image, _LIMITS, _AS_TOWERS_SEE.image_size), _AS_TOWERS_SEE).astype(np.float32)
        small = pixels.reshape(THUMBNAIL_SIDE, block, THUMBNAIL_SIDE, block, 3).mean(axis=(1, 3)).ravel()
        rows[i] = small - small.mean()
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 1e-3, norms, np.inf)
    return rows


def nearest(
    rows: npt.NDArray[np.float32], held: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """For each of `rows` its most similar of `held`: (similarity float32[n], position int64[n]); (-1, 0) if none."""
    best = np.full(len(rows), -1.0, dtype=np.float32)
    where = np.zeros(len(rows), dtype=np.int64)
    if len(held):
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            similarity = rows[part] @ held.T
            where[part] = similarity.argmax(axis=1)
            best[part] = similarity.max(axis=1)
    return best, where
