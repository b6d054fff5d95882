"""How far a reduced JPEG decode turns the bundled zoo's embeddings: `python -m tests.support.reduced_decoding`.

Prints, per size that the picture is reduced to (in units of a 64-pixel target), the worst cosine to the full decode
over the playground's photographs, reductions by 2, 4 and 8, with and without grain, and all backbones.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from service.pipeline.inputs.preprocess import preprocess
from service.repository import Zoo, load_zoo
from tests.support.images import encoded

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "service/playground/samples").glob("*.webp"))
TARGET = 64
GRAINS = (0, 8)


def pictures(width: int, height: int) -> Iterator[bytes]:
    """Every photograph as a JPEG of that size, smooth and with detail at the scale of single pixels."""
    for path in SAMPLES:
        enlarged = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        for grain in GRAINS:
            noise = np.random.default_rng(0).integers(-grain, grain + 1, (height, width, 3), dtype=np.int16)
            pixels = (np.asarray(enlarged).astype(np.int16) + noise).clip(0, 255).astype(np.uint8)
            yield encoded(Image.fromarray(pixels), quality=90)


def decoded(data: bytes, factor: int) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.draft(None, (image.width // factor, image.height // factor))
    return image.convert("RGB")


def worst_cosine(zoo: Zoo, width: int, height: int, factor: int) -> float:
    sessions = [ort.InferenceSession(str(backbone.image.model_path)) for backbone in zoo.backbones]
    cosines = []
    for data in pictures(width, height):
        for backbone, session in zip(zoo.backbones, sessions, strict=True):
            rows = [preprocess(decoded(data, each), backbone.preprocessing) for each in (1, factor)]
            embeddings: NDArray[np.float32] = session.run(None, {"image": np.stack(rows)})[0]
            cosines.append(float(embeddings[0] @ embeddings[1]))
    return min(cosines)


def main() -> Iterator[str]:
    zoo = load_zoo(ROOT / "model_repository")
    for margin in (2.0, 3.0, 3.5, 4.0):
        side = int(margin * TARGET)
        worst = min(worst_cosine(zoo, side * factor, side * factor, factor) for factor in (2, 4, 8))
        yield f"reduced to {margin:g} times the target: {worst:.4f}"
    yield f"500x375 reduced by 2, where the decoder rounds 187.5 rows up: {worst_cosine(zoo, 500, 375, 2):.4f}"
    yield f"504x376 reduced by 2, where it need not: {worst_cosine(zoo, 504, 376, 2):.4f}"


if __name__ == "__main__":
    import sys

    for line in main():
        sys.stdout.write(f"{line}\n")
