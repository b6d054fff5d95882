"""The committed zoo, on the embedded engine: what its files and its answers must keep."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.deadline import Deadline
from service.engines.onnx import OnnxEngine, OnnxOptions
from service.pipeline.classify import Classifier, ClassifyQuery, Decision
from service.pipeline.decode import ImageLimits, decode
from service.pipeline.embed import Embedder
from service.pipeline.embed import Image as RequestImage
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelLimits, make_label_set
from service.pipeline.preprocess import preprocess
from service.repository import Backbone, Zoo, load_zoo
from service.timings import Timings
from tests.conftest import ROOT
from tests.support.images import encoded, resize_then_crop
from tests.support.pipeline import Observations, embedder_on

SAMPLES = ROOT / "service/playground/samples"
MAX_ZOO_BYTES = 10_000_000
LIMITS = ImageLimits(max_bytes=50_000_000, max_pixels=50_000_000)


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return load_zoo(ROOT / "model_repository")


@pytest.fixture
async def engine(zoo: Zoo) -> AsyncIterator[OnnxEngine]:
    engine = OnnxEngine(zoo, OnnxOptions(("CPUExecutionProvider",), intra_op_threads=1, max_batch=8), Observations())
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
def embedder(zoo: Zoo, engine: OnnxEngine) -> Iterator[Embedder]:
    with embedder_on(zoo, engine, Observations()) as embedder:
        yield embedder


async def embeddings(engine: OnnxEngine, backbone: Backbone, pictures: list[Image.Image]) -> NDArray[np.float32]:
    rows = [preprocess(picture, backbone.preprocessing) for picture in pictures]
    return np.stack(await engine.embed(backbone.image.name, rows, Deadline.after(30)))  # type: ignore[arg-type]  # no row fails here


def sample_pictures() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.webp"))]


def with_grain(picture: Image.Image) -> Image.Image:
    """Detail at the scale of single pixels, which an enlarged picture lacks: the hard case for reduced decoding."""
    pixels = np.asarray(picture).astype(np.int16)
    grain = np.random.default_rng(0).integers(-12, 13, pixels.shape, dtype=np.int16)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def test_it_is_small_enough_to_be_cloned() -> None:
    files = [path for path in (ROOT / "model_repository").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_ZOO_BYTES


def test_it_has_at_least_three_families_of_different_cost(zoo: Zoo) -> None:
    assert len({backbone.family for backbone in zoo.backbones}) >= 3
    costs = [backbone.gflops for backbone in zoo.backbones]
    assert costs[-1] >= 4 * costs[0]


@pytest.mark.parametrize("size", [(1600, 1200), (512, 512), (1024, 1028), (2048, 2056)])
async def test_decoding_at_reduced_scale_keeps_the_embedding(
    zoo: Zoo, engine: OnnxEngine, size: tuple[int, int]
) -> None:
    for picture in sample_pictures():
        data = encoded(with_grain(picture.resize(size, Image.Resampling.BICUBIC)), quality=92)
        reduced = decode(data, LIMITS, zoo.largest_image_size)
        full = Image.open(io.BytesIO(data)).convert("RGB")
        assert reduced.width < full.width
        for backbone in zoo.backbones:
            one, other = await embeddings(engine, backbone, [reduced, full])
            assert float(one @ other) >= 0.999, backbone.name


@pytest.mark.parametrize("size", [(500, 375), (107, 80), (80, 107), (333, 77)])
async def test_resizing_and_cropping_in_one_pass_keeps_the_embedding(
    zoo: Zoo, engine: OnnxEngine, size: tuple[int, int]
) -> None:
    for picture in sample_pictures():
        resized = picture.resize(size, Image.Resampling.BICUBIC)
        for backbone in zoo.backbones:
            plain = resize_then_crop(resized, backbone.preprocessing.image_size, Image.Resampling.BICUBIC)
            one, other = await embeddings(engine, backbone, [resized, Image.fromarray(plain)])
            assert float(one @ other) >= 0.9999, backbone.name


async def test_an_embedding_does_not_depend_on_its_batch(zoo: Zoo, engine: OnnxEngine) -> None:
    pictures = sample_pictures()
    for backbone in zoo.backbones:
        together = await embeddings(engine, backbone, pictures)
        alone = np.concatenate([await embeddings(engine, backbone, [picture]) for picture in pictures])
        assert np.abs(together - alone).max() < 1e-5, backbone.name


async def test_it_knows_the_bundled_photographs_of_a_source_that_it_was_trained_on(
    zoo: Zoo, embedder: Embedder
) -> None:
    samples = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))["samples"]
    photographs = [sample for sample in samples if sample["source"] == "grocery_store"]
    matrices = LabelMatrices(embedder, max_bytes=10_000_000)
    classifier = Classifier(embedder, matrices)
    right = 0
    for sample in photographs:
        label_set = make_label_set(sample["labels"], None, LabelLimits(100, 100, 100))
        image = RequestImage.of((SAMPLES / sample["file"]).read_bytes())
        query = ClassifyQuery((image,), label_set, "mean", zoo.backbones, Deadline.after(30))
        (decision,) = await classifier.classify(query, Timings())
        assert isinstance(decision, Decision)
        right += decision.predictions(1)[0].label == sample["labels"][0]  # the true one comes first
    assert right >= 0.8 * len(photographs)
