"""The backbones of a repository as the evaluation asks them: embeddings by row and by text, each computed once."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import PIL

from service.model_config import Preprocessing
from service.pipeline.inputs import containers, decode, preprocess
from service.repository import Backbone, Zoo
from training.data.rows import Row
from training.data.samples import decode_rows
from training.evaluate.cache import EmbeddingCache, Floats, digest_of
from training.evaluate.embedder import Embedder, open_backbone


class Pictures:
    """Rows with their pixels, decoded once per geometry however many backbones share it."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)
        self._decoded: dict[str, npt.NDArray[np.uint8]] = {}

    def pixels(self, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
        """uint8[n, size, size, 3]. Raises `DataError` for a picture that cannot be decoded."""
        geometry = preprocessing.geometry
        if geometry not in self._decoded:
            self._decoded[geometry] = decode_rows(self.rows, preprocessing).images
        return self._decoded[geometry]


@dataclass(frozen=True)
class Member:
    """One backbone, run exactly as it was exported. Its towers are opened when the cache does not know an answer."""

    backbone: Backbone
    cache: EmbeddingCache

    @property
    def name(self) -> str:
        return self.backbone.name

    @cached_property
    def embedder(self) -> Embedder:
        return open_backbone(self.backbone)

    def images(self, pictures: Pictures) -> Floats:
        """Unit rows float32[n, d]."""
        preprocessing = self.backbone.preprocessing
        parts = ["image", ort.__version__, self.backbone.image.digest, preprocessing.geometry, _pixel_code()]
        parts += [row.digest for row in pictures.rows]
        return self.cache.rows(parts, lambda: self.embedder.images(pictures.pixels(preprocessing)))

    def texts(self, texts: Sequence[str]) -> Floats:
        """Unit rows float32[n, d]."""
        return self.cache.rows(
            ["text", ort.__version__, self.backbone.text.digest, *texts], lambda: self.embedder.texts(texts)
        )


@cache
def _pixel_code() -> str:
    """Changes with the code that turns bytes into pixels: embeddings of other pixels must not be found again."""
    sources = [inspect.getsource(module) for module in (containers, decode, preprocess)]
    return digest_of([PIL.__version__, *sources])


def open_members(zoo: Zoo, cache_dir: Path) -> tuple[Member, ...]:
    """Every backbone of a zoo, in its order, with embeddings kept in `cache_dir`."""
    return tuple(Member(backbone, EmbeddingCache(cache_dir)) for backbone in zoo.backbones)
