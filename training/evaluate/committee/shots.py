"""Units of the `shots` section: who is right on which test picture, without labels and with 1 to 16 per class."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from training.evaluate.committee.adapters import Gaussian, MakeAdapter, TipAdapter, adapted
from training.evaluate.committee.draws import SHOTS, draw
from training.evaluate.committee.methods import LEARNT, OVER_ADAPTERS, ZERO_SHOT, Method, alone_methods, generic
from training.evaluate.committee.pools import TaskPools, spread
from training.evaluate.committee.sections import Run
from training.evaluate.committee.trial import Trial, make_trial, total
from training.evaluate.committee.units import Unit
from training.evaluate.generic import Source, fit_generic
from training.evaluate.statistics import Booleans

VERSION = "1"
SEEDS = 5
GENERIC_SEED = 0
MOST_GENERIC = 300
"""Pictures of each task that the generic controller of the others is fitted on: it sees hundreds of label sets."""

FEWEST_OTHERS = 2
ALONE = "alone:"
ADAPTERS: Mapping[str, MakeAdapter] = {"tip:": TipAdapter.of, "gauss:": Gaussian.of}


@dataclass(frozen=True, eq=False)
class Outcome:
    """One method on one task, under one number of shots. `right`: bool[seeds, n], one row where no seed plays a part;
    `gflops`: mean per picture; `shares`: per backbone, in the order of their names, the mean share of the weights;
    `notes`: what it decided, how often."""

    right: Booleans
    gflops: float
    shares: tuple[float, ...] | None
    notes: dict[str, int]


@dataclass(frozen=True, eq=False)
class Learnt:
    """One number of shots on one task. `per_class`: pictures that were there, per class; `without`: classes of which
    there was none."""

    per_class: float
    without: int
    outcomes: dict[str, Outcome]


@dataclass(frozen=True, eq=False)
class TaskOutcomes:
    """`zero_shot`: by method; `learnt`: by shots, where the fit pool holds enough."""

    task: TaskPools
    zero_shot: dict[str, Outcome]
    learnt: dict[int, Learnt]


def measure_outcomes(
    pools: Sequence[TaskPools], run: Run, *, shots: Sequence[int] = SHOTS, seeds: int = SEEDS
) -> tuple[TaskOutcomes, ...]:
    """Every method on every task; `run` computes the units, the dearest first."""
    jobs: list[tuple[tuple[str, int, int], Unit]] = []
    sources = [_source(task) for task in pools if len(task.fit)]
    for place, task in enumerate(pools):
        others = tuple(source for source in sources if source.name != task.source)
        jobs.append((("zero_shot", place, 0), _zero_shot_unit(task, others, pools)))
        for seed in range(seeds):
            for count in _usable(task, shots):
                jobs.append((("learnt", place, seed), _learnt_unit(task, count, seed)))
    jobs.sort(key=lambda job: -_expected_cost(pools[job[0][1]]))
    found = list(zip((key for key, _ in jobs), run([unit for _, unit in jobs]), strict=True))
    return tuple(
        TaskOutcomes(
            task,
            {
                name: _joined([outcome], len(task.test))
                for key, value in found
                if key == ("zero_shot", place, 0)
                for name, outcome in value.items()
            },
            _learnt([value for key, value in found if key[:2] == ("learnt", place)], len(task.test)),
        )
        for place, task in enumerate(pools)
    )


def _usable(task: TaskPools, shots: Sequence[int]) -> list[int]:
    """Numbers of shots that the fit pool carries; how many pictures a class has does not depend on the seed."""
    return [count for count in shots if draw(task.source, task.fit.truth, len(task.classes), count, 0).usable]


def _expected_cost(task: TaskPools) -> int:
    return len(task.fit) * len(task.classes)


def _zero_shot_unit(task: TaskPools, others: tuple[Source, ...], pools: Sequence[TaskPools]) -> Unit:
    key = ("shots-zero", VERSION, str(MOST_GENERIC), task.digest, *(each.digest for each in pools))
    return Unit(f"shots-zero-{task.source}", key, partial(zero_shot, task, others))


def _learnt_unit(task: TaskPools, shots: int, seed: int) -> Unit:
    key = ("shots", VERSION, task.digest, str(shots), str(seed))
    return Unit(f"shots-{task.source}-{shots}-{seed}", key, partial(learnt, task, shots, seed))


def zero_shot(task: TaskPools, others: Sequence[Source]) -> dict[str, Any]:
    """Who needs no labels of the task: backbones, plain committees, a controller fitted on `others`, the oracle."""
    # Methods of a trial may look at examples; these do not, and a task may have none.
    trial = make_trial(task, task.test.take(range(1)), task.test, GENERIC_SEED)
    methods: dict[str, Method] = {ALONE + name: method for name, method in alone_methods(trial).items()}
    methods |= ZERO_SHOT
    if len(others) >= FEWEST_OTHERS:
        methods["generic"] = partial(generic, network=fit_generic(others, GENERIC_SEED))
    found = {name: _asked(method, trial, task) for name, method in methods.items()}
    right = (trial.logits.argmax(axis=2) == task.test.truth[:, None]).any(axis=1)
    found["oracle"] = _plain(right, total(trial.gflops), None, None)
    return found


def learnt(task: TaskPools, shots: int, seed: int) -> dict[str, Any]:
    """Who learns from `shots` labelled pictures per class: on the zoo's logits, then on adapted ones."""
    drawn = draw(task.source, task.fit.truth, len(task.classes), shots, seed)
    trial = make_trial(task, task.fit.take(drawn.positions), task.test, seed)
    found = {name: _asked(method, trial, task) for name, method in LEARNT.items()}
    for prefix, make in ADAPTERS.items():
        over, _ = adapted(trial, make)
        methods = {ALONE + name: method for name, method in alone_methods(over).items()} | dict(OVER_ADAPTERS)
        found |= {prefix + name: _asked(method, over, task) for name, method in methods.items()}
    return {"shots": shots, "per_class": drawn.per_class, "without": drawn.without, "methods": found}


def _asked(method: Method, trial: Trial, task: TaskPools) -> dict[str, Any]:
    answer = method(trial)
    right = answer.scores.argmax(axis=1) == task.test.truth
    return _plain(right, answer.gflops, answer.shares, answer.note)


def _plain(right: Booleans, gflops: float, shares: tuple[float, ...] | None, note: str | None) -> dict[str, Any]:
    bits = base64.b64encode(np.packbits(right).tobytes()).decode()
    return {"right": bits, "gflops": gflops, "shares": shares, "note": note}


def _joined(values: Sequence[Mapping[str, Any]], count: int) -> Outcome:
    """Several seeds of one method on one task of `count` pictures."""
    bits = np.stack([np.frombuffer(base64.b64decode(value["right"]), dtype=np.uint8) for value in values])
    shares = [value["shares"] for value in values if value["shares"] is not None]
    notes = [value["note"] for value in values if value["note"] is not None]
    return Outcome(
        right=np.unpackbits(bits, axis=1, count=count).astype(bool),
        gflops=float(np.mean([value["gflops"] for value in values])),
        # A ladder that stayed at the mean has no weights: shares are those of the seeds that have some.
        shares=tuple(float(share) for share in np.mean(shares, axis=0)) if shares else None,
        notes={note: notes.count(note) for note in sorted(set(notes))},
    )


def _learnt(values: Sequence[Mapping[str, Any]], count: int) -> dict[int, Learnt]:
    by_shots: dict[int, list[Mapping[str, Any]]] = {}
    for value in values:
        by_shots.setdefault(value["shots"], []).append(value)
    return {
        shots: Learnt(
            per_class=same[0]["per_class"],
            without=same[0]["without"],
            outcomes={name: _joined([value["methods"][name] for value in same], count) for name in same[0]["methods"]},
        )
        for shots, same in sorted(by_shots.items())
    }


def _source(task: TaskPools) -> Source:
    """A part of the fit pool as a source of label sets."""
    pool = task.fit.take(spread(task.fit.truth, MOST_GENERIC))
    return Source(task.source, pool.embeddings, task.class_embeddings, task.scales, np.asarray(pool.truth, np.int64))
