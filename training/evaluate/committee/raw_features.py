"""Image embeddings at the length that a tower gives them, before its graph makes unit rows of them."""

import numpy as np
import onnx
import onnxruntime as ort

from service.pipeline.logits import Floats
from training.evaluate.members import Member, Pictures, _pixel_code
from training.export.graph import open_session, run_session

BATCH = 64
NORMALISING = {"Div": 0, "LpNormalization": 0}
"""By the operator that a graph may end with, which of its inputs is what it makes unit rows of."""


class NoRawFeaturesError(ValueError):
    """The graph does not end by making unit rows of something."""


def raw_images(member: Member, pictures: Pictures) -> Floats:
    """float32[n, d], from the embedding cache where it knows them.

    Raises `NoRawFeaturesError`, and `DataError` for a picture that cannot be decoded.
    """
    geometry = member.backbone.preprocessing.geometry
    parts = ["image, raw", ort.__version__, member.backbone.image.digest, geometry, _pixel_code()]
    parts += [row.digest for row in pictures.rows]
    return member.cache.rows(parts, lambda: _embed(member, pictures))


def _embed(member: Member, pictures: Pictures) -> Floats:
    model = onnx.load(str(member.backbone.image.model_path))
    session = open_session(expose_raw(model))
    pixels = pictures.pixels(member.backbone.preprocessing)
    batches = [run_session(session, pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    return np.concatenate(batches)


def expose_raw(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without its last step: its output `embedding` is what was about to be made unit rows. In place.

    Raises `NoRawFeaturesError` where the last step is another one.
    """
    graph = model.graph
    last = next((node for node in graph.node if "embedding" in node.output), None)
    if last is None or last.op_type not in NORMALISING:
        found = "nothing" if last is None else last.op_type
        raise NoRawFeaturesError(f"the graph's embedding comes from {found}, not from a division by its length")
    raw = last.input[NORMALISING[last.op_type]]
    graph.node.remove(last)
    for node in graph.node:
        node.input[:] = ["embedding" if name == raw else name for name in node.input]
        node.output[:] = ["embedding" if name == raw else name for name in node.output]
    return model
