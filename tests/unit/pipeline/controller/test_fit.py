"""The paper's fit, and the forms it leaves open."""

from __future__ import annotations

import itertools
import time
from typing import get_args

import numpy as np
import pytest

from service.pipeline.controller.controller import Controller, committee_logits, weigh
from service.pipeline.controller.examples import Examples, make_examples
from service.pipeline.controller.fit import (
    PAPER,
    Design,
    Schedule,
    batches,
    fit_form,
    fit_paper,
    network_inputs,
    owners,
    random_subsets,
)
from service.pipeline.controller.gradient import Form, Link
from service.pipeline.logits import unit_rows
from tests.support.committees import Committee, digests, equals, specialists

CPU_LIMIT_S = 10.0  # two cores for five seconds
QUICK = Schedule(learning_rate=2e-3, steps=100, batch_size=64, strength=0.01)


def accuracy(committee: Committee, controller: Controller | None) -> float:
    embeddings, logits, truth = committee.test()
    weights = (
        np.ones(logits.shape[:2], dtype=np.float32)
        if controller is None
        else weigh(controller, committee.names, embeddings, logits)
    )
    return float((committee_logits(weights, logits).argmax(axis=1) == truth).mean())


def large_examples() -> Examples:
    """100 classes, 16 shots, 6 backbones of width 512."""
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(100), 16)
    names = [f"backbone-{i}" for i in range(6)]
    embeddings = [unit_rows(generator.standard_normal((1600, 512), dtype=np.float32)) for _ in names]
    logits = generator.standard_normal((6, 1600, 100), dtype=np.float32)
    logits[:, np.arange(1600), truth] += 2
    return make_examples(names, embeddings, logits, truth, digests(1600))


def same(one: Controller, other: Controller, tolerance: float = 0.0) -> bool:
    pairs = [(getattr(one, part), getattr(other, part)) for part in ("w1", "c1", "w2", "c2")]
    return all(np.allclose(a, b, rtol=0, atol=tolerance) for a, b in pairs)


def test_the_papers_controller_finds_out_whom_to_ask() -> None:
    committee = specialists()
    assert accuracy(committee, fit_paper(committee.examples(8), 0)) > accuracy(committee, None) + 0.05


def test_without_a_step_it_is_the_logit_mean() -> None:
    committee = specialists()
    nothing = Schedule(PAPER.learning_rate, 0, PAPER.batch_size, PAPER.strength)
    controller = fit_paper(committee.examples(1), 0, schedule=nothing)
    embeddings, logits, _ = committee.test(5)
    assert np.allclose(weigh(controller, committee.names, embeddings, logits), 1, atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    examples = specialists().examples(2)
    once, again, other = (fit_paper(examples, seed, schedule=QUICK) for seed in (3, 3, 4))
    assert same(once, again)
    assert not same(once, other, 1e-3)


def test_the_order_of_examples_and_backbones_does_not_matter() -> None:
    committee = specialists()
    truth = np.repeat(np.arange(20), 2)
    embeddings, logits = committee.see(truth)
    order = np.random.default_rng(0).permutation(40)
    keys = digests(40)
    straight = make_examples(committee.names, embeddings, logits, truth, keys)
    turned = make_examples(
        committee.names[::-1],
        [rows[order] for rows in embeddings[::-1]],
        logits[::-1][:, order],
        truth[order],
        [keys[i] for i in order],
    )
    assert same(fit_paper(straight, 0, schedule=QUICK), fit_paper(turned, 0, schedule=QUICK))


def test_the_order_of_labels_does_not_matter_up_to_rounding() -> None:
    committee = specialists()
    truth = np.repeat(np.arange(20), 2)
    embeddings, logits = committee.see(truth)
    order = np.random.default_rng(0).permutation(20)
    place = np.argsort(order)
    straight = make_examples(committee.names, embeddings, logits, truth, digests(40))
    turned = make_examples(committee.names, embeddings, logits[:, :, order], place[truth], digests(40))
    assert same(fit_paper(straight, 0, schedule=QUICK), fit_paper(turned, 0, schedule=QUICK), 1e-3)


def test_an_any_subset_controller_weighs_prefixes_and_the_papers_form_has_one_for_each() -> None:
    committee = equals()
    examples = committee.examples(2)
    whole = fit_paper(examples, 0, any_subset=True, schedule=QUICK)
    prefix = fit_paper(examples.of(["one", "two"]), 0, schedule=QUICK)
    embeddings, logits, _ = committee.test(5)
    two = [committee.names.index(name) for name in prefix.backbones]
    for controller in (whole, prefix):
        weights = weigh(controller, prefix.backbones, [embeddings[i] for i in two], logits[two])
        assert weights.shape == (2, 5)
    assert whole.any_subset
    assert not prefix.any_subset


@pytest.mark.parametrize(
    "form",
    [
        Form(link, hidden=hidden)
        for link, hidden in itertools.product(
            get_args(Link),
            (0, 32),
        )
    ]
    + [Form(unit_features=False)],
    ids=lambda form: f"{form.link}-{form.hidden}-{'unit' if form.unit_features else 'raw'}",
)
def test_every_form_starts_at_the_logit_mean_and_learns(form: Form) -> None:
    committee = specialists()
    examples = committee.examples(8)
    embeddings, logits, truth = committee.test()
    nothing = Schedule(QUICK.learning_rate, 0, QUICK.batch_size, QUICK.strength)
    start = fit_form(examples, form, 0, schedule=nothing).weigh(committee.names, embeddings)
    assert np.allclose(start, 1, atol=1e-5)
    found = fit_form(examples, form, 0, schedule=QUICK).weigh(committee.names, embeddings)
    right = [(committee_logits(weights, logits).argmax(axis=1) == truth).mean() for weights in (start, found)]
    assert right[1] > right[0]


def test_the_default_form_is_what_is_served() -> None:
    committee = specialists()
    examples = committee.examples(2)
    embeddings, logits, _ = committee.test(20)
    form, served = fit_form(examples, Form(), 0, schedule=QUICK), fit_paper(examples, 0, schedule=QUICK)
    names, turned = committee.names[::-1], embeddings[::-1]
    assert np.allclose(form.weigh(names, turned), weigh(served, names, turned, logits[::-1]), rtol=1e-5)


def test_raw_features_keep_their_length_and_unit_features_do_not() -> None:
    rows = [np.full((1, 4), 3, dtype=np.float32)]
    assert network_inputs(rows, Form(unit_features=False)).tolist() == [[3, 3, 3, 3]]
    assert network_inputs(rows, Form()).tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_every_example_is_seen_once_before_any_is_seen_again() -> None:
    examples = specialists().examples(1)
    inputs = network_inputs(examples.embeddings, Form())
    design = Design(inputs, owners(examples.embeddings), examples.logits, examples.truth)
    feed = batches(design, Schedule(1.0, 9, 8, 0.0), np.random.default_rng(0), any_subset=False)
    seen = np.concatenate([batch.truth for batch in feed])[:60].reshape(3, 20)
    assert all(sorted(turn) == list(range(20)) for turn in seen)


def test_absent_backbones_are_zero_in_the_inputs_of_a_batch() -> None:
    examples = equals().examples(1)
    inputs = network_inputs(examples.embeddings, Form())
    design = Design(inputs, owners(examples.embeddings), examples.logits, examples.truth)
    batch = design.batch(np.array([2, 3]), np.array([[1, 0, 1], [0, 1, 0]], dtype=np.float32))
    blocks = batch.inputs.reshape(2, 3, -1)
    assert not blocks[0, 1].any()
    assert not blocks[1, [0, 2]].any()
    assert np.array_equal(blocks[1, 1], examples.embeddings[1][3])


def test_random_subsets_are_never_empty_and_mostly_whole() -> None:
    present = random_subsets(np.random.default_rng(0), 5000, 4)
    sizes = present.sum(axis=1)
    assert set(np.unique(present)) == {0, 1}
    assert np.bincount(sizes.astype(int), minlength=5)[0] == 0
    assert (sizes == 4).mean() == pytest.approx(0.85, abs=0.02)
    assert present[sizes == 1].mean(axis=0) == pytest.approx([0.25] * 4, abs=0.07)


@pytest.mark.parametrize("link", ["softplus", "exp", "softmax", "inverse"])
def test_extreme_logits_do_no_harm(link: Link) -> None:
    committee = equals()
    truth = np.repeat(np.arange(20), 2)
    embeddings, logits = committee.see(truth)
    examples = make_examples(committee.names, embeddings, logits * np.float32(1e4), truth, digests(40))
    assert np.isfinite(fit_form(examples, Form(link), 0, schedule=QUICK).theta).all()


def test_a_hundred_classes_sixteen_shots_and_six_backbones_fit_into_five_seconds_of_two_cores() -> None:
    examples = large_examples()
    before = time.process_time()
    fit_paper(examples, 0)
    assert time.process_time() - before < CPU_LIMIT_S
