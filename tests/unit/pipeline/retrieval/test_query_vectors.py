from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.pipeline.controller.controller import committee_logits
from service.pipeline.logits import Floats, backbone_logits, softmax, weighted_cosine
from service.pipeline.retrieval.query_vectors import (
    CANDIDATES,
    Voices,
    confidence,
    fold,
    packed,
    scores_by_backbone,
    shares,
)

WIDTHS = {"a": 5, "b": 8, "c": 3}
NAMES = tuple(WIDTHS)
PLACES = {"a": slice(0, 5), "b": slice(5, 13), "c": slice(13, 16)}


def unit(generator: np.random.Generator, width: int, rows: int = 1) -> Floats:
    vectors = generator.standard_normal((rows, width))
    unit_vectors: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit_vectors


def voices(generator: np.random.Generator, names: tuple[str, ...] = NAMES) -> Voices:
    return Voices(
        names,
        tuple(unit(generator, WIDTHS[name])[0] for name in names),
        generator.uniform(0.1, 4, len(names)).astype(np.float32),
        generator.uniform(1, 20, len(names)).astype(np.float32),
    )


def gallery(generator: np.random.Generator, rows: int = 40) -> Floats:
    return np.concatenate([unit(generator, width, rows) for width in WIDTHS.values()], axis=1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_inner_product_with_a_folded_query_is_the_committees_weighted_cosine(seed: int) -> None:
    generator = np.random.default_rng(seed)
    asked, items = voices(generator), gallery(generator)
    cosine = np.stack([items[:, PLACES[name]] @ row for name, row in zip(NAMES, asked.embeddings, strict=True)])
    explicit = weighted_cosine(asked.opinions * asked.scales, cosine)
    assert np.abs(items @ fold([(1.0, asked)], PLACES).vector - explicit).max() <= 1e-5


def test_a_score_times_the_sharpness_is_the_logit_of_a_classification() -> None:
    generator = np.random.default_rng(1)
    asked, items = voices(generator), gallery(generator)
    query = fold([(1.0, asked)], PLACES)
    logits = np.stack(
        [
            backbone_logits(items[:, PLACES[name]] @ row, float(scale), 1.0)
            for name, row, scale in zip(NAMES, asked.embeddings, asked.scales, strict=True)
        ]
    )
    expected = committee_logits(asked.opinions, logits)
    np.testing.assert_allclose((items @ query.vector) * query.sharpness, expected, rtol=1e-4, atol=1e-4)


def test_weights_are_shares_that_sum_to_one() -> None:
    weights = shares(np.array([[1, 2], [1, 2]], dtype=np.float32), np.array([30, 10], dtype=np.float32))
    np.testing.assert_allclose(weights, [[0.75, 0.75], [0.25, 0.25]])


def test_a_backbone_that_does_not_speak_leaves_its_part_empty_and_has_no_weight() -> None:
    query = fold([(1.0, voices(np.random.default_rng(2), ("a", "c")))], PLACES)
    assert not query.vector[PLACES["b"]].any()
    assert query.weights["b"] == 0
    assert sum(query.weights.values()) == pytest.approx(1)


def test_a_mix_scores_as_the_weighted_mean_of_its_parts() -> None:
    generator = np.random.default_rng(3)
    one, other, items = voices(generator), voices(generator), gallery(generator)
    mixed = items @ fold([(3.0, one), (-1.0, other)], PLACES).vector
    apart = 0.75 * (items @ fold([(1.0, one)], PLACES).vector) - 0.25 * (items @ fold([(1.0, other)], PLACES).vector)
    np.testing.assert_allclose(mixed, apart, atol=1e-6)


def test_scores_by_backbone_add_up_to_the_score_and_are_cosines_for_one_thing() -> None:
    generator = np.random.default_rng(4)
    asked, items = voices(generator), gallery(generator)
    query = fold([(1.0, asked)], PLACES)
    scores = scores_by_backbone(query, items[7], PLACES)
    assert sum(query.weights[name] * scores[name] for name in NAMES) == pytest.approx(float(items[7] @ query.vector))
    cosine = float(items[7, PLACES["b"]] @ asked.embeddings[1])
    assert scores["b"] == pytest.approx(cosine, abs=1e-5)


def test_the_best_of_equal_hits_is_as_sure_as_chance() -> None:
    assert confidence([0.3] * 10, 40.0) == pytest.approx(0.1)


def test_confidence_looks_at_the_best_candidates_alone() -> None:
    scores = np.linspace(0.5, -0.5, 2 * CANDIDATES).tolist()
    expected = softmax(np.array(scores[:CANDIDATES], dtype=np.float32) * 12)[0]
    assert confidence(scores, 12.0) == pytest.approx(float(expected))


def test_nothing_found_is_nothing_to_be_sure_of() -> None:
    assert confidence([], 40.0) == 0


def test_packed_parts_lie_side_by_side_in_the_order_asked_for() -> None:
    assert packed(PLACES, ["c", "a"]) == {"c": slice(0, 3), "a": slice(3, 8)}
