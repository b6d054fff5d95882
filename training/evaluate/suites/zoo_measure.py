"""From scores to measures: one task at a time, pure functions on arrays.

Axes: b backbones, n items (pictures, or queries of a retrieval), c classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from service.pipeline.logits import Floats, committee_probabilities, softmax
from training.evaluate import diversity
from training.evaluate.statistics import (
    Booleans,
    Integers,
    Resamples,
    any_hits_at_k,
    best_k,
    hits_at_k,
)
from training.evaluate.suites.zoo_report import Alone, Matrix, Measure
from training.evaluate.zero_shot import majority_vote, predictions

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Who was right. correct: bool[b, n]; lucky, independent: float64[b, n], how likely each backbone would have been
    right with its answers shuffled, and with its errors dealt anew; committees: by policy bool[n]."""

    correct: Booleans
    lucky: Doubles
    independent: Doubles
    committees: dict[str, Booleans]


def label_answers(logits: Floats, truth: Integers) -> Answers:
    """Answers to a labelled task. logits: float32[b, n, c], temperature-scaled; truth: int64[n]."""
    predicted = predicted_classes(logits)
    correct = np.asarray(predicted == truth)
    committees = {
        "mean": predictions(committee_probabilities("mean", logits)),
        "mean_logit": predictions(committee_probabilities("mean_logit", logits)),
        "vote": majority_vote(softmax(logits)),
    }
    return Answers(
        correct=correct,
        lucky=diversity.luck(predicted, truth),
        independent=diversity.independent(correct, diversity.deal_groups(truth)),
        committees={policy: np.asarray(answer == truth) for policy, answer in committees.items()},
    )


def predicted_classes(logits: Floats) -> Integers:
    """int64[b, n], every backbone's own answer."""
    return np.stack([predictions(member) for member in logits])


def pair_answers(logits: Floats, truth: Integers) -> dict[tuple[int, int], Booleans]:
    """bool[n] for every two backbones: whether the mean of their probabilities is right."""
    pairs = combinations(range(len(logits)), 2)
    return {
        pair: np.asarray(predictions(committee_probabilities("mean", logits[list(pair)])) == truth) for pair in pairs
    }


def text_to_image(scores: Floats, owner: Integers, k: int) -> Answers:
    """Answers of captions that look for their picture: n captions, scores float32[b, n, pictures], owner int64[n]."""
    correct = np.stack([hits_at_k(member, owner, k) for member in scores])
    lucky = np.stack([best_k(member, k).mean(axis=0)[owner] for member in scores])
    together = hits_at_k(_mean(scores), owner, k)
    return Answers(correct, lucky, _independent(correct), {"mean_logit": together})


def image_to_text(scores: Floats, owner: Integers, k: int) -> Answers:
    """Answers of n pictures that look for any of their captions.

    scores: float32[b, captions, n]; owner: int64[captions], rising, the picture of each caption.
    """
    turned = scores.transpose(0, 2, 1)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    listed = [np.logical_or.reduceat(best_k(member, k), starts, axis=1) for member in turned]
    correct = np.stack([any_hits_at_k(member, owner, k) for member in turned])
    lucky = np.stack([diversity.retrieval_luck(found) for found in listed])
    return Answers(correct, lucky, _independent(correct), {"mean_logit": any_hits_at_k(_mean(turned), owner, k)})


def _mean(scores: Floats) -> Floats:
    return np.asarray(scores.mean(axis=0), dtype=np.float32)


def _independent(correct: Booleans) -> Doubles:
    return diversity.independent(correct, np.zeros(correct.shape[1], dtype=np.int64))


def measure(title: str, names: Sequence[str], answers: Answers, weights: Resamples) -> Measure:
    """One measure: scores, oracle, controls and who is right alone. names: of the b backbones."""
    scores = {name: weights.score(row) for name, row in zip(names, answers.correct, strict=True)}
    shuffled = others_shuffled(names, answers, weights)
    return Measure(
        name=title,
        scores=scores,
        committees={policy: weights.score(right) for policy, right in answers.committees.items()},
        oracle=weights.score(diversity.oracle(answers.correct)),
        oracle_shuffled=weights.value(diversity.oracle_if_independent(shuffled)),
        oracle_independent=weights.value(diversity.oracle_if_independent(answers.independent)),
        only_one=weights.score(diversity.alone(answers.correct).sum(axis=0)),
        only_one_shuffled=weights.value(diversity.alone_by_luck(answers.correct, answers.lucky).sum(axis=0)),
        alone=_alone(names, answers, weights),
        one_right=pair_matrix(diversity.one_right(answers.correct, weights.point)),
    )


def others_shuffled(names: Sequence[str], answers: Answers, weights: Resamples) -> Doubles:
    """float64[b, n]: how likely each backbone is right when the answers of all but the best are shuffled."""
    points = [weights.value(row) for row in answers.correct]
    best = min(range(len(points)), key=lambda b: (-points[b], names[b]))
    return diversity.all_but(best, answers.correct, answers.lucky)


def _alone(names: Sequence[str], answers: Answers, weights: Resamples) -> dict[str, Alone]:
    share = diversity.alone(answers.correct)
    shuffled = diversity.alone_by_luck(answers.correct, answers.lucky)
    independent = diversity.alone_if_independent(answers.independent)
    return {
        name: Alone(
            share=weights.score(share[b]),
            shuffled=weights.value(shuffled[b]),
            above=weights.score(share[b] - shuffled[b]),
            independent=weights.value(independent[b]),
        )
        for b, name in enumerate(names)
    }


def pair_matrix(matrix: Doubles) -> Matrix:
    """A square array as nested tuples."""
    return tuple(tuple(float(value) for value in row) for row in matrix)


def values_of(names: Sequence[str], answers: Answers, weights: Resamples) -> Mapping[str, Doubles]:
    """float64[n] by backbone, committee and oracle, for means over tasks."""
    rows: dict[str, npt.NDArray[np.generic]] = dict(zip(names, answers.correct, strict=True))
    rows |= answers.committees
    rows["oracle"] = diversity.oracle(answers.correct)
    rows["oracle_shuffled"] = diversity.oracle_if_independent(others_shuffled(names, answers, weights))
    return {name: row.astype(np.float64) for name, row in rows.items()}


def fold(values: Doubles, owner: Integers) -> Doubles:
    """float64[items]: the mean of what belongs to each item; values: float64[m], owner: int64[m]."""
    return np.asarray(np.bincount(owner, weights=values) / np.bincount(owner))
