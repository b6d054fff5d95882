"""Training-free adapters, and what may be learnt on top of them."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.logits import unit_rows
from tests.unit.training.evaluate.committee.made_up_pools import task
from training.evaluate.committee.adapters import FIXED_ALPHA, Gaussian, MakeAdapter, Moments, TipAdapter, adapted
from training.evaluate.committee.adapters import class_sums as sums
from training.evaluate.committee.trial import Trial, make_trial

BOTH = pytest.mark.parametrize("make", [TipAdapter.of, Gaussian.of], ids=["tip", "gaussian"])


def trial(fit: int = 8, classes: int = 5) -> Trial:
    """The labels are shifted by one against the texts: only examples can say what a class is."""
    pools = task(fit=fit, classes=classes, test=200)
    found = make_trial(pools, pools.fit, pools.test, seed=0)
    return Trial(
        type(found.examples)(
            found.examples.backbones,
            found.examples.embeddings,
            np.roll(found.examples.logits, 1, axis=2),
            found.examples.truth,
            found.examples.digests,
        ),
        found.embeddings,
        np.roll(found.logits, 1, axis=2),
        found.gflops,
        found.temperatures,
        0,
    )


def right(given: Trial, logits: np.ndarray) -> float:
    shots = given.examples.shots[1]
    pools = task(fit=shots, classes=given.examples.classes, test=200)
    return float((logits.mean(axis=1).argmax(axis=1) == pools.test.truth).mean())


@BOTH
def test_adapters_learn_what_texts_have_wrong(make: MakeAdapter) -> None:
    before = trial()
    after, how = adapted(before, make)
    assert right(after, after.logits) > right(before, before.logits) + 0.3
    assert all(each.alpha > 0 for each in how)


@BOTH
def test_nobody_votes_on_itself(make: MakeAdapter) -> None:
    generator = np.random.default_rng(0)
    pools = task(fit=6, classes=4)
    examples = make_trial(pools, pools.fit, pools.test, 0).examples
    noise = type(examples)(
        examples.backbones,
        tuple(unit_rows(generator.standard_normal(each.shape).astype(np.float32)) for each in examples.embeddings),
        examples.logits,
        examples.truth,
        examples.digests,
    )
    adapter = make(noise, 0, 0)
    own = adapter.own(np.arange(len(noise)), adapter.settings[-1])
    asked = adapter.asked(noise.embeddings[0], adapter.settings[-1])
    assert (asked.argmax(axis=1) == noise.truth).mean() > 0.6
    assert (own.argmax(axis=1) == noise.truth).mean() < 0.5


def test_tip_adapter_is_the_formula() -> None:
    pools = task(fit=3, classes=4)
    examples = make_trial(pools, pools.fit, pools.test, 0).examples
    queries = pools.test.embeddings[0][:5]
    keys = examples.embeddings[0]
    expected = np.zeros((5, 4))
    for row in range(5):
        for label in range(4):
            affinity = np.exp(-4.0 * (1 - keys[examples.truth == label] @ queries[row]))
            expected[row, label] = affinity.mean()
    np.testing.assert_allclose(TipAdapter.of(examples, 0, 0).asked(queries, 4.0), expected, rtol=1e-4)


def test_gaussians_are_told_apart_as_bayes_would() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 4000)
    means = np.array([[0, 0], [2, 0], [0, 2]], dtype=np.float32)
    spread = np.array([[1.0, 0.6], [0.6, 1.0]], dtype=np.float32)
    rows = means[labels] + generator.standard_normal((12000, 2)).astype(np.float32) @ np.linalg.cholesky(spread).T
    found = Moments.of(rows.astype(np.float32), labels, 3).discriminants(rows[:50].astype(np.float32), 0.0)
    inverse = np.linalg.inv(spread)
    apart = rows[:50, None, :] - means[None]
    expected = -np.einsum("ncd,de,nce->nc", apart, inverse, apart) / 2
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=0.3)


@BOTH
def test_one_shot_has_fixed_votes_and_examples_without_them(make: MakeAdapter) -> None:
    pools = task(fit=1, classes=9)
    before = make_trial(pools, pools.fit, pools.test, 0)
    after, how = adapted(before, make)
    assert [each.alpha / each.temperature for each in how] == pytest.approx([FIXED_ALPHA] * 2)
    temperatures = np.array([each.temperature for each in how])[None, :, None]
    np.testing.assert_allclose(after.examples.logits * temperatures, before.examples.logits, rtol=1e-5)
    assert not np.array_equal(after.logits, before.logits)


@BOTH
def test_with_one_shot_votes_decide_where_texts_say_nothing(make: MakeAdapter) -> None:
    before = trial(fit=1, classes=9)
    after, how = adapted(before, make)
    assert right(after, after.logits) > right(before, before.logits) + 0.1
    assert min(each.temperature for each in how) > 2


@BOTH
def test_examples_alone_in_their_class_vote_and_are_not_asked(make: MakeAdapter) -> None:
    pools = task(fit=6, classes=4)
    lone = pools.fit.take([*range(12), 12, *range(18, 24)])
    before = make_trial(pools, lone, pools.test, 0)
    after, _ = adapted(before, make)
    assert len(after.examples) == len(before.examples) - 1
    assert 2 not in after.examples.truth


@BOTH
def test_a_class_without_examples_stays_finite(make: MakeAdapter) -> None:
    pools = task(fit=6, classes=4)
    after, _ = adapted(make_trial(pools, pools.fit.take(range(18)), pools.test, 0), make)
    assert np.isfinite(after.logits).all()
    assert np.isfinite(after.examples.logits).all()


def test_sums_by_class() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.testing.assert_array_equal(sums(rows, np.array([2, 0, 2, 0]), 4), [[8, 10], [0, 0], [4, 6], [0, 0]])
