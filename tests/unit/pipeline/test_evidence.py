"""What the whole committee makes of many images."""

from __future__ import annotations

import numpy as np
import pytest

from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.errors import BackboneFailedError, DeadlineExceededError, InvalidImageError, QuorumError
from service.pipeline import evidence as evidence_module
from service.pipeline.committee import combine
from service.pipeline.embed import Embedder, Image
from service.pipeline.evidence import Evidence, Gatherer
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelSet
from service.pipeline.walk import Decision, Walk
from service.repository import Zoo
from service.timings import Timings
from tests.support.fitted import cascade_plan, reading
from tests.support.images import jpeg
from tests.support.state import PETS

LABELS: LabelSet = PETS


@pytest.fixture
def gatherer(embedder: Embedder, fake_zoo: Zoo) -> Gatherer:
    return Gatherer(embedder, LabelMatrices(embedder, max_bytes=1_000_000), fake_zoo.backbones)


def pictures(count: int) -> list[Image | QuorumError]:
    return [Image.of(jpeg(seed=seed)) for seed in range(count)]


async def gathered(gatherer: Gatherer, images: list[Image | QuorumError], seconds: float = 30.0) -> Evidence:
    return await gatherer.gather(images, LABELS, Deadline.after(seconds), lambda _: None)


async def test_evidence_has_a_row_per_image_in_their_order(gatherer: Gatherer) -> None:
    images = pictures(3)
    found = await gathered(gatherer, images)
    assert found.names == ("small", "large")
    assert [rows.shape for rows in found.embeddings] == [(3, 8), (3, 12)]
    assert found.logits.shape == (2, 3, 2)
    assert found.rows == (0, 1, 2)
    assert found.digests == tuple(image.digest for image in images if isinstance(image, Image))
    assert found.skipped == {}
    alone = await gathered(gatherer, images[1:2])
    assert np.allclose(alone.logits[:, 0], found.logits[:, 1], atol=1e-5)


async def test_what_cannot_be_read_is_skipped_and_told(gatherer: Gatherer) -> None:
    unreadable = InvalidImageError("neither base64 nor a data URI")
    images = [pictures(1)[0], Image.of(b"no image"), unreadable, *pictures(3)[1:]]
    found = await gathered(gatherer, images)
    assert found.rows == (0, 3, 4)
    assert found.logits.shape == (2, 3, 2)
    assert found.skipped.keys() == {1, 2}
    assert isinstance(found.skipped[1], InvalidImageError)
    assert found.skipped[2] is unreadable


async def test_nothing_readable_is_no_rows(gatherer: Gatherer) -> None:
    found = await gathered(gatherer, [Image.of(b"one"), Image.of(b"two")])
    assert (found.rows, found.digests, found.logits.shape) == ((), (), (2, 0, 2))
    assert [rows.shape for rows in found.embeddings] == [(0, 8), (0, 12)]


@pytest.mark.parametrize("tower", ["large_image", "large_text"])
async def test_half_a_committee_is_no_evidence(gatherer: Gatherer, fake_engine: FakeEngine, tower: str) -> None:
    fake_engine.faults.failing = {tower}
    with pytest.raises(BackboneFailedError):
        await gathered(gatherer, pictures(2))


async def test_running_out_of_time_is_not_the_images_fault(gatherer: Gatherer, fake_engine: FakeEngine) -> None:
    await gathered(gatherer, [])  # the labels are known
    fake_engine.faults.delay_s = {"large_image": 30.0}
    with pytest.raises(DeadlineExceededError):
        await gathered(gatherer, pictures(2), seconds=0.2)
    with pytest.raises(DeadlineExceededError):
        await gathered(gatherer, pictures(2), seconds=0.0)


async def test_images_are_asked_a_few_at_a_time_and_progress_grows_to_one(
    gatherer: Gatherer, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_module, "AT_ONCE", 2)
    heard: list[float] = []
    await gatherer.gather([*pictures(5), Image.of(b"broken")], LABELS, Deadline.after(30), heard.append)
    assert heard == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert [rows for tower, rows in fake_engine.calls if tower == "small_image"] == [2, 2, 1]


async def test_evidence_says_what_requests_are_answered(gatherer: Gatherer, fake_zoo: Zoo) -> None:
    """Offline equals online: calibration is of no use where requests see other numbers."""
    images, controller = pictures(8), reading(fake_zoo.backbones)
    found = await gathered(gatherer, images)
    together = combine(controller, found.names, found.embeddings, found.logits).logits
    plan = cascade_plan(fake_zoo.backbones, controller=controller)
    for row, image in enumerate(images):
        assert isinstance(image, Image)
        (embedded,) = await gatherer.embedder.embed_images([image], fake_zoo.backbones, Deadline.after(5), Timings())
        walk = Walk(plan, LABELS)
        step = walk.next()
        walk.hear(step.ask, embedded, await gatherer.matrices.of(LABELS, fake_zoo.backbones, Deadline.after(5)))
        decision = walk.decide(walk.next())
        assert isinstance(decision, Decision)
        assert decision.probabilities.argmax() == together[row].argmax()
        ratios = np.log(decision.probabilities / decision.probabilities[0])
        assert np.allclose(ratios, together[row] - together[row, 0], atol=1e-4)
