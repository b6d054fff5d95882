"""How far up the ladder examples carry."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import numpy as np
import pytest

from service.pipeline.controller.controller import Controller, Generic, committee_logits, static_controller, weigh
from service.pipeline.controller.examples import Examples, make_examples
from service.pipeline.controller.ladder import Climbed, climb
from service.pipeline.controller.opinions import OPINIONS
from service.pipeline.controller.pulled import CANDIDATES, Candidate, fit_candidates, main_directions
from service.pipeline.controller.report import BACKBONE, reasons_against
from service.pipeline.controller.scores import Scores, score
from service.pipeline.logits import Floats, mean_probability
from tests.support.committees import Committee, digests, equals, leader, specialists
from tests.unit.pipeline.controller.test_fit import CPU_LIMIT_S, large_examples, same


def accuracy(committee: Committee, controller: Controller | None) -> float:
    """Of a controller, or of the probability mean, on new images."""
    embeddings, logits, truth = committee.test(2000)
    if controller is None:
        return float((mean_probability(logits).argmax(axis=1) == truth).mean())
    answers = committee_logits(weigh(controller, committee.names, embeddings, logits), logits)
    return float((answers.argmax(axis=1) == truth).mean())


def trusting() -> Generic:
    """A generic part that trusts whoever is sure: t grows with the top probability."""
    w1 = np.zeros((1, OPINIONS), dtype=np.float32)
    w1[0, 0] = 4
    ones = np.ones((1, 1), dtype=np.float32)
    return Generic(w1, np.zeros(1, dtype=np.float32), ones, np.full(1, -1, dtype=np.float32))


def accepted(climbed: Climbed) -> Controller:
    assert climbed.controller is not None, climbed.report.reasons
    return climbed.controller


@pytest.mark.parametrize("shots", [2, 8])
def test_specialists_need_the_network_and_get_it(shots: int) -> None:
    committee = specialists(classes=40)
    climbed = climb(committee.examples(shots), 0)
    assert climbed.report.rung == "nlc"
    assert accuracy(committee, accepted(climbed)) > accuracy(committee, None) + 0.02


def test_one_expert_needs_no_more_than_static_weights() -> None:
    committee = leader()
    climbed = climb(committee.examples(4), 0)
    assert climbed.report.accepted
    assert accuracy(committee, accepted(climbed)) > accuracy(committee, None) + 0.1


def test_fits_to_nonsense_are_mostly_refused_and_say_so() -> None:
    examples = equals(classes=40).examples(8)
    refused = []
    for seed in range(8):
        truth = np.random.default_rng(seed).permutation(examples.truth)
        logits = examples.logits.transpose(1, 0, 2)
        nonsense = make_examples(examples.backbones, examples.embeddings, logits, truth, examples.digests)
        climbed = climb(nonsense, 0)
        assert climbed.report.accepted == (climbed.controller is not None)
        if climbed.controller is None:
            assert climbed.report.rung == "mean"
            assert "probability mean" in climbed.report.reasons[0]
            refused.append(seed)
    # Held-out scores of nonsense are luck: a fit may seem better, though not as a rule.
    assert len(refused) >= 5


def test_what_is_accepted_is_hardly_ever_worse_than_the_probability_mean() -> None:
    for seed in range(3):
        committee = equals(seed=seed)
        climbed = climb(committee.examples(4), seed)
        if climbed.controller is not None:
            assert accuracy(committee, climbed.controller) > accuracy(committee, None) - 0.02


def test_the_same_seed_gives_the_same_controller_whatever_the_order() -> None:
    committee = specialists()
    truth = np.repeat(np.arange(20), 4)
    embeddings, logits = committee.see(truth)
    order = np.random.default_rng(1).permutation(80)
    keys = digests(80)
    straight = climb(make_examples(committee.names, embeddings, logits, truth, keys), 0)
    turned = climb(
        make_examples(
            committee.names[::-1],
            [rows[order] for rows in embeddings[::-1]],
            logits[::-1][:, order],
            truth[order],
            [keys[i] for i in order],
        ),
        0,
    )
    assert straight.report == turned.report
    assert same(accepted(straight), accepted(turned))


def test_the_report_tells_gains_over_every_backbone_and_over_the_means() -> None:
    committee = specialists(classes=40)
    report = climb(committee.examples(4), 7).report
    assert set(report.backbones) == set(report.gain_over_backbones) == {"left", "right"}
    assert set(report.unfitted) == set(report.gain_over_unfitted) == {"mean", "mean_logit"}
    assert report.held_out is not None
    for name, gain in report.gain_over_backbones.items():
        assert gain.accuracy == pytest.approx(report.held_out.accuracy - report.backbones[name].accuracy)
        assert 0 < gain.standard_error < 0.1
    assert (report.about.examples, report.about.shots, report.about.seed) == (160, (4, 4), 7)
    assert json.loads(json.dumps(report.as_json())) == report.as_json()


def test_held_out_accuracy_is_not_that_of_the_fit_on_its_own_examples() -> None:
    """Labels at random: whatever held-out scores say beyond chance, they would have seen."""
    generator = np.random.default_rng(5)
    embeddings = [generator.standard_normal((200, 24), dtype=np.float32) for _ in range(3)]
    logits = generator.standard_normal((3, 200, 4), dtype=np.float32)
    examples = make_examples(["a", "b", "c"], embeddings, logits, generator.integers(0, 4, 200), digests(200))
    held_out = climb(examples, 0).report.held_out
    assert held_out is not None
    assert held_out.accuracy < 0.36
    assert held_out.loss > np.log(4) - 0.01


def test_a_generic_controller_is_the_prior_where_there_is_one() -> None:
    committee = specialists(classes=40)
    generic = trusting()
    climbed = climb(committee.examples(4), 0, generic)
    assert "generic" in climbed.report.unfitted
    controller = accepted(climbed)
    assert controller.generic is generic
    prior = static_controller(committee.names, controller.widths, generic=generic)
    assert accuracy(committee, controller) > accuracy(committee, prior)


def test_a_strong_pull_leaves_the_prior_as_it_is() -> None:
    committee, generic = specialists(), trusting()
    embeddings, logits, _ = committee.test(20)
    prior = static_controller(committee.names, [rows.shape[1] for rows in embeddings], generic=generic)
    expected = weigh(prior, committee.names, embeddings, logits)
    (pulled,) = fit_candidates(committee.examples(4), (Candidate("static", 1e6),), 0, generic)
    assert np.allclose(weigh(pulled, committee.names, embeddings, logits), expected, rtol=1e-3)


def test_a_stronger_pull_keeps_weights_closer_to_static_ones() -> None:
    committee = specialists()
    embeddings, logits, _ = committee.test(200)
    fitted = fit_candidates(committee.examples(8), [Candidate("nlc", strength) for strength in (100.0, 1.0, 0.01)], 0)
    spread = [float(weigh(each, committee.names, embeddings, logits).std(axis=1).mean()) for each in fitted]
    assert spread[0] < spread[1] < spread[2]


def test_every_candidate_weighs_every_subset() -> None:
    committee = equals()
    embeddings, logits, _ = committee.test(4)
    for controller in fit_candidates(committee.examples(1), CANDIDATES, 0, trusting()):
        for place, name in enumerate(committee.names):
            weights = weigh(controller, [name], [embeddings[place]], logits[place : place + 1])
            assert (weights > 0).all()


def test_main_directions_are_orthonormal_and_hold_what_few_embeddings_span() -> None:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((200, 5), dtype=np.float32) @ generator.standard_normal((5, 300), dtype=np.float32)
    (basis,) = main_directions([rows], generator)
    assert basis.shape == (300, 32)
    assert np.allclose(basis.T @ basis, np.eye(32), atol=1e-4)
    assert np.allclose(rows @ basis @ basis.T, rows, atol=1e-2)


@pytest.mark.parametrize(("images", "width"), [(1, 10), (3, 500), (50, 8)])
def test_main_directions_are_no_more_than_there_can_be(images: int, width: int) -> None:
    rows = np.random.default_rng(0).standard_normal((images, width), dtype=np.float32)
    (basis,) = main_directions([rows], np.random.default_rng(1))
    assert basis.shape == (width, min(images, width, 32))
    assert np.allclose(rows @ basis @ basis.T, rows, atol=1e-4)


def few(images: int, classes: int = 20, backbones: Sequence[str] = ("left", "right")) -> Examples:
    committee = specialists(classes)
    truth = np.arange(images) % classes
    embeddings, logits = committee.see(truth)
    keep = [committee.names.index(name) for name in backbones]
    return make_examples(backbones, [embeddings[i] for i in keep], logits[keep], truth, digests(images))


@pytest.mark.parametrize(
    ("examples", "reason"),
    [
        (few(1), "1 different examples are too few"),
        (few(7), "at least 8"),
        (few(20, classes=1), "one label only"),
        (few(20, backbones=["left"]), "one backbone only"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(examples: Examples, reason: str) -> None:
    climbed = climb(examples, 0)
    assert climbed.controller is None
    assert climbed.report.rung == "mean"
    assert reason in climbed.report.reasons[0]
    assert climbed.report.held_out is None
    assert climbed.report.backbones.keys() == set(examples.backbones)


def test_eight_examples_of_many_classes_are_judged() -> None:
    report = climb(few(8, classes=200), 0).report
    assert report.held_out is not None
    assert report.about.classes_with_examples == 8


def test_identical_examples_do_no_harm() -> None:
    embeddings = [np.full((12, 4), 0.5, dtype=np.float32)] * 2
    examples = make_examples(["a", "b"], embeddings, np.zeros((2, 12, 3), np.float32), np.arange(12) % 3, digests(12))
    assert climb(examples, 0).controller is None


def test_progress_rises_to_one_and_may_stop_the_work() -> None:
    heard: list[float] = []
    examples = specialists(classes=40).examples(2)
    climb(examples, 0, progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0

    def stop(share: float) -> None:
        raise InterruptedError(str(share))

    with pytest.raises(InterruptedError):
        climb(examples, 0, progress=stop)


def scores(right: int, sure: float) -> Scores:
    """Ten answers over two labels, `right` of them right, each with the logit `sure`."""
    logits = np.tile(np.array([sure, 0], dtype=np.float32), (10, 1))
    return score(logits, np.array([0] * right + [1] * (10 - right)))


def rivals(right: int, **others: Scores) -> dict[str, Scores]:
    return {"mean": scores(right, 1.0), BACKBONE + "mean": scores(10, 1.0), **others}


def test_only_what_beats_the_probability_mean_and_the_generic_controller_is_accepted() -> None:
    assert reasons_against(scores(9, 1.0), rivals(8), chosen=True) == ()
    assert "no likelier" in reasons_against(scores(8, 1.0), rivals(8), chosen=True)[0]
    assert "No fit" in reasons_against(scores(9, 1.0), rivals(8), chosen=False)[0]
    (reason,) = reasons_against(scores(8, 1.0), rivals(7, generic=scores(9, 1.0)), chosen=True)
    assert "generic controller" in reason


def test_likelier_labels_do_not_outweigh_lost_accuracy() -> None:
    generator = np.random.default_rng(0)
    truth = np.zeros(100, dtype=np.int64)
    rival: Floats = np.zeros((100, 2), dtype=np.float32)
    rival[:60, 0], rival[60:, 1] = 0.01, 3.0
    fit: Floats = np.zeros((100, 2), dtype=np.float32)
    fit[:55, 0], fit[55:, 1] = 3 + generator.random(55), 0.01
    (reason,) = reasons_against(score(fit, truth), {"mean": score(rival, truth)}, chosen=True)
    assert reason == "Held-out accuracy was 55.0 %, that of the probability mean 60.0 %."


def test_the_whole_ladder_fits_into_five_seconds_of_two_cores() -> None:
    examples = large_examples()
    before = time.process_time()
    climb(examples, 0)
    assert time.process_time() - before < CPU_LIMIT_S
