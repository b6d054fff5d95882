"""Everybody who answers: without labels of the task, with some, and with adapted logits in place of the zoo's.

Every method is a function of a `Trial`. Those in `ZERO_SHOT` read none of its examples. Those in `LEARNT` do, and are
asked a second time where an adapter has changed the logits.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from service.pipeline.controller.controller import Controller, Generic, committee_logits, static_controller, weigh
from service.pipeline.controller.fit import PAPER, fit_paper
from service.pipeline.controller.ladder import climb
from service.pipeline.controller.pulled import Candidate, fit_candidates
from service.pipeline.logits import Floats, mean_probability, softmax
from training.evaluate.baselines import TINY, best_backbone, fit_mixture_network, fit_super_learner, mixture
from training.evaluate.committee.stacking import fit_stacking
from training.evaluate.committee.trial import Answer, Trial, mean_shares, total
from training.evaluate.temperature import fit_temperature

Method = Callable[[Trial], Answer]

ANY_SUBSET = Candidate("nlc", 0.1)
"""The rung of the ladder that weighs any subset of the backbones, at the middle one of its strengths."""


def alone(trial: Trial, place: int, note: str | None = None) -> Answer:
    """One backbone."""
    return Answer(trial.logits[:, place], trial.gflops[place], note=note)


def vote(trial: Trial) -> Answer:
    """The class that most backbones name; of equals the one of highest mean probability."""
    classes = trial.logits.shape[2]
    votes = np.eye(classes, dtype=np.float32)[trial.logits.argmax(axis=2)].sum(axis=1)
    # A mean probability is at most 1, so half of it can settle a tie and never outweigh a vote.
    return Answer(votes + softmax(trial.logits).mean(axis=1) / 2, total(trial.gflops))


def mean(trial: Trial) -> Answer:
    """The mean of temperature-scaled probabilities, the gateway's `mean`."""
    return _log_mean(trial, trial.logits)


def mean_uncalibrated(trial: Trial) -> Answer:
    """The mean of probabilities at the logit scales that the towers were trained to."""
    return _log_mean(trial, trial.logits * np.array(trial.temperatures, dtype=np.float32)[None, :, None])


def mean_logit(trial: Trial) -> Answer:
    """The mean of temperature-scaled logits."""
    return Answer(trial.logits.mean(axis=1), total(trial.gflops))


def generic(trial: Trial, network: Generic) -> Answer:
    """A generic controller, fitted on other tasks."""
    widths = tuple(rows.shape[1] for rows in trial.embeddings)
    return _weighed(trial, static_controller(trial.names, widths, generic=network))


def best_by_labels(trial: Trial) -> Answer:
    """The backbone that is right on most of the examples."""
    place = best_backbone(trial.examples)
    return alone(trial, place, note=trial.names[place])


def own_temperatures(trial: Trial) -> Answer:
    """The mean of probabilities, every backbone at the temperature that suits the examples best."""
    examples = trial.examples
    scales = [1 / fit_temperature([(examples.logits[:, b], examples.truth)]) for b in range(len(trial.names))]
    return _log_mean(trial, trial.logits * np.array(scales, dtype=np.float32)[None, :, None])


def super_learner(trial: Trial) -> Answer:
    """Probabilities mixed by one share per backbone."""
    shares = fit_super_learner(trial.examples)
    scores = mixture(shares, trial.logits)
    return Answer(scores, total(trial.gflops), tuple(float(share) for share in shares))


def mixture_network(trial: Trial) -> Answer:
    """Probabilities mixed by a network that reads the image embeddings."""
    shares = fit_mixture_network(trial.examples, trial.seed).shares(trial.embeddings)
    return Answer(mixture(shares, trial.logits), total(trial.gflops), mean_shares(shares.T))


def stacking(trial: Trial) -> Answer:
    """Logistic regression on all logits side by side."""
    fit = fit_stacking(trial.examples.logits, trial.examples.truth)
    return Answer(fit.scores(trial.logits), total(trial.gflops))


def nlc(trial: Trial) -> Answer:
    """The paper's controller."""
    return _weighed(trial, fit_paper(trial.examples, trial.seed, schedule=PAPER))


def any_subset(trial: Trial) -> Answer:
    """The controller that weighs any subset of its backbones; here all are there."""
    (controller,) = fit_candidates(trial.examples, (ANY_SUBSET,), trial.seed)
    return _weighed(trial, controller)


def ladder(trial: Trial) -> Answer:
    """What a fit in the gateway ends with: the rung that held-out examples speak for, else the probability mean."""
    climbed = climb(trial.examples, trial.seed)
    if climbed.controller is None:
        found = mean(trial)
        return Answer(found.scores, found.gflops, note="mean")
    found = _weighed(trial, climbed.controller)
    return Answer(found.scores, found.gflops, found.shares, climbed.report.rung)


ZERO_SHOT: Mapping[str, Method] = {
    "vote": vote,
    "mean_uncalibrated": mean_uncalibrated,
    "mean": mean,
    "mean_logit": mean_logit,
}

LEARNT: Mapping[str, Method] = {
    "best_by_labels": best_by_labels,
    "own_temperatures": own_temperatures,
    "super_learner": super_learner,
    "mixture_network": mixture_network,
    "stacking": stacking,
    "nlc": nlc,
    "any_subset": any_subset,
    "ladder": ladder,
}

OVER_ADAPTERS: Mapping[str, Method] = {
    "best_by_labels": best_by_labels,
    "mean": mean,
    "super_learner": super_learner,
    "nlc": nlc,
    "any_subset": any_subset,
}
"""Asked again where logits were adapted. The ladder is left out: its nested folds would take half of the suite's
time, and it stands on the same fits."""


def alone_methods(trial: Trial) -> dict[str, Method]:
    """Every backbone of the trial, by name."""
    return {name: partial(alone, place=place) for place, name in enumerate(trial.names)}


def _log_mean(trial: Trial, logits: Floats) -> Answer:
    means = mean_probability(np.ascontiguousarray(logits.transpose(1, 0, 2)))
    return Answer(np.asarray(np.log(np.maximum(means, TINY)), dtype=np.float32), total(trial.gflops))


def _weighed(trial: Trial, controller: Controller) -> Answer:
    """By the function that answers requests."""
    logits = np.ascontiguousarray(trial.logits.transpose(1, 0, 2))
    weights = weigh(controller, trial.names, trial.embeddings, logits)
    return Answer(committee_logits(weights, logits), total(trial.gflops), mean_shares(weights))
