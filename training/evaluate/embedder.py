"""Exported towers run directly by ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from service.repository import Backbone
from training.export.graph import open_session, run_session
from training.models.tokenizer import encode

BATCH_SIZE = 64

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedder:
    """Both towers of one backbone, loaded."""

    image: ort.InferenceSession
    text: ort.InferenceSession
    tokenizer: Tokenizer

    def images(self, pictures: npt.NDArray[np.uint8]) -> Floats:
        """uint8[n, size, size, 3] to unit rows float32[n, d]."""
        return _in_batches(self.image, pictures)

    def texts(self, texts: Sequence[str]) -> Floats:
        """Texts to unit rows float32[n, d]; equal texts are encoded once."""
        distinct = list(dict.fromkeys(texts))
        position = {text: i for i, text in enumerate(distinct)}
        rows = _in_batches(self.text, encode(self.tokenizer, distinct))
        return rows[[position[text] for text in texts]]


def _in_batches(session: ort.InferenceSession, inputs: npt.NDArray[np.generic]) -> Floats:
    parts = [run_session(session, inputs[start : start + BATCH_SIZE]) for start in range(0, len(inputs), BATCH_SIZE)]
    return np.concatenate(parts)


def open_backbone(backbone: Backbone) -> Embedder:
    """The towers of a backbone in a model repository."""
    return Embedder(
        image=open_session(str(backbone.image.model_path)),
        text=open_session(str(backbone.text.model_path)),
        tokenizer=Tokenizer.from_file(str(backbone.text.tokenizer_path)),
    )
