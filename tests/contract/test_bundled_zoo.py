"""The committed zoo: what it keeps besides the contract of every model repository (`test_model_repository.py`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from service.deadline import Deadline
from service.engines.onnx import OnnxEngine, OnnxOptions
from service.pipeline.classify import Classifier, ClassifyQuery
from service.pipeline.embed import Embedder
from service.pipeline.embed import Image as RequestImage
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelLimits, make_label_set
from service.pipeline.plan import plain_plan
from service.pipeline.walk import Decision
from service.repository import Zoo, load_zoo
from service.timings import Timings
from tests.conftest import ROOT
from tests.support.pipeline import Observations, embedder_on

SAMPLES = ROOT / "service/playground/samples"
MAX_ZOO_BYTES = 90_000_000


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


def test_it_is_small_enough_to_be_cloned() -> None:
    files = [path for path in (ROOT / "model_repository").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_ZOO_BYTES


def test_it_has_at_least_five_families_of_different_cost(zoo: Zoo) -> None:
    assert len({backbone.family for backbone in zoo.backbones}) >= 5
    costs = [backbone.gflops for backbone in zoo.backbones]
    assert costs[-1] >= 15 * costs[0]


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
        query = ClassifyQuery((image,), label_set, plain_plan("mean", zoo.committee.backbones), Deadline.after(30))
        (decision,) = await classifier.classify(query, Timings())
        assert isinstance(decision, Decision)
        right += decision.predictions(1)[0].label == sample["labels"][0]  # the true one comes first
    assert right >= 0.8 * len(photographs)
