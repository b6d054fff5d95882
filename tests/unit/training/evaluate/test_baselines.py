"""What the literature puts beside a controller."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.logits import softmax
from tests.support.committees import leader, specialists
from training.evaluate.baselines import (
    MixtureSchedule,
    best_backbone,
    fit_mixture_network,
    fit_super_learner,
    mixture,
)

pytestmark = pytest.mark.torch


def test_the_best_backbone_is_the_one_that_is_right_most_often() -> None:
    examples = leader().examples(2)
    assert examples.backbones[best_backbone(examples)] == "expert"


def test_the_super_learner_finds_the_expert_and_no_other_shares_are_likelier() -> None:
    examples = leader().examples(4)
    shares = fit_super_learner(examples)
    assert shares.sum() == pytest.approx(1)
    assert shares[examples.backbones.index("expert")] > 0.7
    given = softmax(examples.logits)[np.arange(len(examples)), :, examples.truth].astype(np.float64)
    likelihood = np.log(given @ shares).mean()
    for other in np.random.default_rng(0).dirichlet(np.ones(3), 200):
        assert np.log(given @ other).mean() <= likelihood + 1e-6


def test_a_mixture_is_the_logarithm_of_weighed_probabilities() -> None:
    logits = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    expected = 0.25 * softmax(logits)[:, 0] + 0.75 * softmax(logits)[:, 1]
    assert np.allclose(np.exp(mixture(np.array([0.25, 0.75]), logits)), expected, atol=1e-6)
    per_image = np.tile(np.array([0.25, 0.75]), (5, 1))
    assert np.allclose(mixture(per_image, logits), mixture(per_image[0], logits))


def test_a_backbone_without_any_probability_left_stays_finite() -> None:
    logits = np.array([[[1e4, 0.0], [0.0, 1e4]]], dtype=np.float32)
    assert np.isfinite(mixture(np.array([1.0, 0.0]), logits)).all()


def test_the_mixture_network_learns_whom_to_ask_when_it_is_trained_long_enough() -> None:
    committee = specialists()
    schedule = MixtureSchedule(learning_rate=0.5, epochs=100)
    network = fit_mixture_network(committee.examples(8), 0, double_softmax=False, schedule=schedule)
    embeddings, _, truth = committee.test()
    shares = network.shares(embeddings)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    knows = (truth >= 10).astype(int)  # "left" knows the first half of the classes, "right" the second
    assert shares[np.arange(len(truth)), knows].mean() > 0.7


def test_the_published_schedule_is_repeatable_and_depends_on_the_seed() -> None:
    examples = specialists().examples(2)
    once, again, other = (fit_mixture_network(examples, seed).w1 for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
