"""The committed zoo on a real Triton server, unchanged: the same embeddings as in the process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from service.deadline import Deadline
from service.engines.base import Engine, Row
from service.engines.onnx import OnnxEngine, OnnxOptions
from service.engines.triton import TritonEngine, TritonOptions
from service.pipeline.inputs.preprocess import preprocess
from service.pipeline.inputs.tokenize import TextTokenizer
from service.repository import Zoo, load_zoo
from tests.conftest import ROOT
from tests.support.pipeline import Observations
from tests.support.triton import TritonServer, triton_server

REPOSITORY = ROOT / "model_repository"
TEXTS = [f"a photo of {thing}" for thing in ("a cat", "bananas", "the number 7", "日本語 🙂", "", "x " * 300)]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with triton_server(REPOSITORY, tmp_path_factory.mktemp("zoo")) as server:
        yield server


def rows_of(zoo: Zoo) -> dict[str, list[Row]]:
    """By tower; more pictures than one batch holds."""
    pictures = [
        Image.open(path).convert("RGB") for path in sorted((ROOT / "service/playground/samples").glob("*.webp"))
    ]
    rows: dict[str, list[Row]] = {}
    for backbone in zoo.backbones:
        rows[backbone.image.name] = [preprocess(picture, backbone.preprocessing) for picture in pictures] * 7
        rows[backbone.text.name] = list(TextTokenizer(backbone.text)(TEXTS))
    return rows


async def embeddings_of(engine: Engine, rows: dict[str, list[Row]]) -> dict[str, np.ndarray]:
    await engine.start()
    found = {tower: await engine.embed(tower, each, Deadline.after(120)) for tower, each in rows.items()}
    await engine.close()
    return {tower: np.stack([row for row in each if isinstance(row, np.ndarray)]) for tower, each in found.items()}


async def test_both_engines_give_the_same_embeddings(server: TritonServer) -> None:
    zoo = load_zoo(REPOSITORY)
    rows = rows_of(zoo)
    assert max(map(len, rows.values())) > max(each.image.config.max_batch_size for each in zoo.backbones)
    onnx = OnnxEngine(zoo, OnnxOptions(("CPUExecutionProvider",), intra_op_threads=1, max_batch=8), Observations())
    triton = TritonEngine(zoo, TritonOptions((server.address,), start_wait_s=30, max_rows=512), Observations())
    ours, theirs = await embeddings_of(onnx, rows), await embeddings_of(triton, rows)
    for tower, expected in ours.items():
        assert theirs[tower].shape == expected.shape == (len(rows[tower]), expected.shape[1])
        assert np.abs(theirs[tower] - expected).max() < TOLERANCE, tower
    assert "Traceback" not in server.words(), "an operator would take it for a failure"
