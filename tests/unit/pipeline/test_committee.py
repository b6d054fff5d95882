"""How votes become one answer, the same way for requests, calibration and evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.committee import Voice, combine
from service.pipeline.controller.controller import committee_logits, weigh
from service.pipeline.logits import Floats, softmax, unit_rows
from service.repository import Zoo
from tests.support.fitted import constant, reading

NAMES = ("small", "large")


def rows(n: int, seed: int = 0) -> tuple[list[Floats], Floats]:
    """Unit embeddings of both backbones, and logits `float32[2, n, 5]`."""
    rng = np.random.default_rng(seed)
    embeddings = [unit_rows(rng.standard_normal((n, width)).astype(np.float32)) for width in (8, 12)]
    return embeddings, rng.normal(0, 4, (2, n, 5)).astype(np.float32)


def test_a_controller_weighs_logits(fake_zoo: Zoo) -> None:
    controller = reading(fake_zoo.backbones)
    embeddings, logits = rows(7)
    combined = combine(controller, NAMES, embeddings, logits)
    weights = weigh(controller, NAMES, embeddings, logits)
    assert np.array_equal(combined.weights, weights)
    assert np.array_equal(combined.logits, committee_logits(weights, logits))
    assert weights.std() > 0.1, "they depend on the image"


def test_the_logit_mean_has_equal_weights() -> None:
    embeddings, logits = rows(7)
    combined = combine("mean_logit", NAMES, embeddings, logits)
    assert np.allclose(combined.logits, logits.mean(axis=0), atol=1e-6)
    assert np.array_equal(combined.weights, np.ones((2, 7)))


def test_the_probability_mean_is_its_own_softmax() -> None:
    embeddings, logits = rows(7)
    combined = combine("mean", NAMES, embeddings, logits)
    assert np.allclose(softmax(combined.logits), softmax(logits).mean(axis=0), atol=1e-6)


def test_what_nobody_believes_in_stays_a_number() -> None:
    embeddings, _ = rows(1)
    logits = np.array([[[0.0, -500.0]], [[0.0, -500.0]]], dtype=np.float32)
    combined = combine("mean", NAMES, embeddings, logits)
    assert np.isfinite(combined.logits).all()


@pytest.mark.parametrize("voice", ["mean", "mean_logit", "static", "reading"])
def test_the_order_of_backbones_does_not_matter(fake_zoo: Zoo, voice: str) -> None:
    voices: dict[str, Voice] = {
        "mean": "mean",
        "mean_logit": "mean_logit",
        "static": constant(fake_zoo.backbones, 0.5, 2.0),
        "reading": reading(fake_zoo.backbones),
    }
    embeddings, logits = rows(50)
    one = combine(voices[voice], NAMES, embeddings, logits)
    other = combine(voices[voice], NAMES[::-1], embeddings[::-1], logits[::-1])
    assert np.allclose(one.weights, other.weights[::-1], atol=1e-5)
    assert np.allclose(one.logits, other.logits, atol=1e-4)


def test_one_backbone_alone_is_weighed_as_well(fake_zoo: Zoo) -> None:
    embeddings, logits = rows(3)
    combined = combine(constant(fake_zoo.backbones, 0.5, 2.0), ["large"], embeddings[1:], logits[1:])
    assert np.allclose(combined.logits, 2.0 * logits[1], atol=1e-5)


def test_a_stranger_cannot_be_weighed(fake_zoo: Zoo) -> None:
    embeddings, logits = rows(3)
    with pytest.raises(ValueError, match="stranger"):
        combine(constant(fake_zoo.backbones, 1.0, 1.0), ["small", "stranger"], embeddings, logits)
