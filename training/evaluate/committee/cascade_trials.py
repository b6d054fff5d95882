"""One task's cascade: calibrated many times over on samples of a pool, and held against the whole pool.

Every calibration draws its images with replacement, and each draw counts as an image of its own: the sample is then
independent draws from the pool, whatever its size, and the share of the pool that a cascade gets wrong is exactly the
risk that the promise is about.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.pipeline.cascade.calibration import CalibrationSample, calibrate
from service.pipeline.cascade.cascade import Cascade
from service.pipeline.cascade.choice import CalibrationRequest
from service.pipeline.cascade.router import Doubles
from service.pipeline.cascade.search import search
from service.pipeline.cascade.threshold_path import PRICES, cost_at, outcomes, prices, threshold_path
from service.pipeline.cascade.trace import AnswerTable, Combine, chain_masks, chain_trace, replay
from service.pipeline.committee import Voice
from service.pipeline.controller.ladder import climb
from training.evaluate.committee.pools import Pool, TaskPools, spread
from training.evaluate.committee.sections import SHOTS, Committee, shots_of
from training.evaluate.statistics import Integers, generator

DELTA = 0.1
EPSILONS = (0.02, 0.05)
AIM_SHARE = 0.45
"""Of the full committee's GFLOPs, at the last of `EPSILONS`."""

IMAGES = 1000
"""Of one calibration: half choose, half test."""
MOST_POOL = 3000
ROUTED_EVERY = 5
"""Every so many calibrations look for a router too, as the gateway does by default. The comparison of router and order
is four fifths of what a calibration costs; the others search the order alone."""
SEED = 0
MORE_EPSILONS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
SEARCHED = (0.05, 0.2, 0.4)
"""Of them, those that orders are searched for."""


@dataclass(frozen=True)
class Possible:
    """What the cascade of one task could be with calibration images without end: thresholds chosen on the whole pool.

    `accuracy_full`, `accuracies` (by backbone): plain accuracy on the pool. `agreement`: by number of backbones asked,
    cheapest first, the share of images that the first so many answer as all do. `gflops`: by epsilon (`epsilons`) mean
    cost of an image. `epsilon_for_aim`: the least share of changed answers at which the cost falls to the aim, null
    where it never does.
    """

    source: str
    novelty: str
    voice: str
    pool: int
    accuracy_full: float
    accuracies: dict[str, float]
    agreement: tuple[float, ...]
    gflops_full: float
    epsilons: tuple[float, ...]
    gflops: tuple[float, ...]
    epsilon_for_aim: float | None

    @property
    def usually_right(self) -> bool:
        """Whether the full committee is right more often than not."""
        return self.accuracy_full > 0.5


@dataclass(frozen=True)
class Trials:
    """Calibrations of one task at one epsilon. `disagreements`: of each, the share of the pool to which its cascade
    gives another answer than the full committee. Means over the calibrations: `accuracy` on the pool, `gflops` of an
    image, `exits` by number of backbones asked. `first`: how often each backbone was asked first; `routed`: how many
    took a router, of `offered`; `idle`: how many let nobody leave."""

    source: str
    epsilon: float
    images: int
    disagreements: tuple[float, ...]
    accuracy: float
    gflops: float
    exits: tuple[float, ...]
    first: dict[str, int]
    routed: int
    offered: int
    idle: int

    @property
    def broken(self) -> int:
        """Calibrations whose cascade breaks the promise."""
        return sum(share > self.epsilon for share in self.disagreements)


def committee_of(task: TaskPools) -> tuple[str, Committee]:
    """The full committee on the pool, under the ladder's pick from the task's shots (the probability mean where the
    ladder refuses), and the name of the rung."""
    rung, voice = _voice(task)
    return rung, Committee(task.backbones, voice, calibration_pool(task))


def _voice(task: TaskPools) -> tuple[str, Voice]:
    if not len(task.fit):
        return "mean", "mean"
    climbed = climb(shots_of(task, SHOTS, SEED), SEED)
    return ("mean", "mean") if climbed.controller is None else (climbed.report.rung, climbed.controller)


def calibration_pool(task: TaskPools) -> Pool:
    """Calibrate and test images together: nothing was fitted on either. An even spread of `MOST_POOL` at most."""
    parts = (task.calibrate, task.test)
    joined = Pool(
        tuple(np.concatenate(both) for both in zip(*(part.embeddings for part in parts), strict=True)),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.truth for part in parts]),
        tuple(row for part in parts for row in part.rows),
    )
    return joined.take(spread(joined.truth, MOST_POOL))


def possible(task: TaskPools) -> Possible:
    """Whether a cascade pays on this task, and from which epsilon on."""
    rung, committee = committee_of(task)
    everyone = range(len(task.backbones))
    full = committee.combine(everyone).argmax(axis=1)
    cheapest_first = sorted(everyone, key=lambda member: (task.gflops[member], member))
    prefixes = [cheapest_first[: asked + 1] for asked in everyone]
    curves = _endless(committee.combine, task.gflops, len(committee.pool))
    least = [errors[np.argmax(costs <= AIM_SHARE * sum(task.gflops))] for errors, costs in curves if _aims(task, costs)]
    return Possible(
        source=task.source,
        novelty=task.novelty,
        voice=rung,
        pool=len(committee.pool),
        accuracy_full=float(committee.right(everyone).mean()),
        accuracies={name: float(committee.right([member]).mean()) for member, name in enumerate(task.backbones)},
        agreement=tuple(float((committee.combine(some).argmax(axis=1) == full).mean()) for some in prefixes),
        gflops_full=sum(task.gflops),
        epsilons=MORE_EPSILONS,
        gflops=tuple(min(cost_at(*curve, epsilon) for curve in curves) for epsilon in MORE_EPSILONS),
        epsilon_for_aim=float(min(least)) if least else None,
    )


def _aims(task: TaskPools, costs: Doubles) -> bool:
    return bool(costs.min() <= AIM_SHARE * sum(task.gflops))


def _endless(combine: Combine, gflops: Sequence[float], images: int) -> list[tuple[Doubles, Doubles]]:
    """Share of changed answers and mean cost along the paths that are best on all of the pool: one for each order that
    is searched, since who should begin depends on how much may change."""
    table = AnswerTable(combine, len(gflops), np.arange(images))
    curves = []
    for epsilon in SEARCHED:
        choice = search(table, gflops, epsilon)
        trace = chain_trace(table, gflops, chain_masks(choice.stages), choice.exit_score)
        curves.append(outcomes(trace, threshold_path(trace, prices(images, sum(gflops), PRICES))))
    return curves


def trials(task: TaskPools, epsilon: float, count: int) -> Trials:
    """`count` calibrations; who is drawn depends on the task, epsilon and the calibration's number alone."""
    _, committee = committee_of(task)
    everything = np.arange(len(committee.pool))
    disagreements, accuracies, costs, exits = [], [], [], []
    first: Counter[str] = Counter()
    routed = idle = 0
    for number in range(count):
        cascade = _calibrated(task, committee, epsilon, number)
        trace = replay(cascade, committee.combine, everything)
        levels = trace.levels(cascade.thresholds)
        wrong, cost = trace.outcome(cascade.thresholds)
        disagreements.append(wrong / trace.images)
        accuracies.append(float((trace.top[levels, everything] == committee.pool.truth).mean()))
        costs.append(cost)
        exits.append(np.bincount(_asked(cascade)[levels], minlength=len(task.gflops) + 1)[1:] / trace.images)
        first[_first(task, cascade)] += 1
        routed += cascade.router is not None
        idle += not cascade.leaves_early
    return Trials(
        source=task.source,
        epsilon=epsilon,
        images=IMAGES,
        disagreements=tuple(disagreements),
        accuracy=float(np.mean(accuracies)),
        gflops=float(np.mean(costs)),
        exits=tuple(float(share) for share in np.mean(exits, axis=0)),
        first=dict(first.most_common()),
        routed=routed,
        offered=len(range(0, count, ROUTED_EVERY)),
        idle=idle,
    )


def _calibrated(task: TaskPools, committee: Committee, epsilon: float, number: int) -> Cascade:
    drawn = generator(f"cascade of {task.source}, {epsilon}, {number}").integers(0, len(committee.pool), IMAGES)
    request = CalibrationRequest(epsilon, DELTA, routing=number % ROUTED_EVERY == 0)
    sample = CalibrationSample([f"draw {place}" for place in range(IMAGES)])
    return calibrate(lambda members: committee.combine(members)[drawn], task.gflops, sample, request).cascade


def _asked(cascade: Cascade) -> Integers:
    """int64[levels]: how many backbones have been asked where an image leaves at each level."""
    if cascade.router is not None:
        return np.arange(1, len(cascade.gflops) + 1)
    return np.cumsum([len(stage) for stage in cascade.stages])


def _first(task: TaskPools, cascade: Cascade) -> str:
    """Who begins; together with others where nobody may leave before them."""
    members = cascade.stages[0] if cascade.router is None else (cascade.router.first,)
    return " + ".join(task.backbones[member] for member in sorted(members))
