"""From calibration images to a cascade with a promise.

With probability >= 1 - delta over the calibration sample, the cascade's top label differs from the full committee's,
under the same pinned controller, on at most epsilon of inputs. The images are split once: one part chooses everything
(order or router, temperatures, exit score, the path of thresholds), the other tests that path and nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.errors import InvalidRequestError
from service.pipeline.cascade.cascade import NEVER, Cascade, Integers
from service.pipeline.cascade.choice import CalibrationRequest, Plan, choose
from service.pipeline.cascade.learn_then_test import (
    allowed_errors,
    binomial_cdf,
    certified_gap,
    check_levels,
    last_passing,
    smallest_sample,
)
from service.pipeline.cascade.report import AccuracyGap, Calibrated, Chosen, Report, Tested
from service.pipeline.cascade.trace import Combine, Trace, replay

CHOOSING_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationSample:
    """`digests[i]` names image `i` of what the committee answers. `labels` are true classes, `int64[n]`, where known.
    `fitted` are digests of images that the controller or the temperatures were fitted on."""

    digests: Sequence[str]
    labels: Integers | None = None
    fitted: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Rows of the sample, `int64` each, and what was left out."""

    choosing: Integers
    testing: Integers
    dropped_duplicates: int
    dropped_fitted: int


def calibrate(
    combine: Combine, gflops: Sequence[float], sample: CalibrationSample, request: CalibrationRequest
) -> Calibrated:
    """A cascade that keeps the promise, as cheap as the search finds it; with too few images nobody leaves early.

    `combine` answers all images of the sample, `gflops` is what each backbone costs per image. Raises
    `InvalidRequestError` for levels or stages that make no sense, `ValueError` for arrays that do not fit together.
    """
    _check(gflops, sample, request)
    answered = len(combine(tuple(range(len(gflops)))))
    if answered != len(sample.digests):
        raise ValueError(f"{len(sample.digests)} digests, but the committee answers {answered} images")
    parts = split(sample)
    if len(parts.choosing) + len(parts.testing) < images_needed(request.epsilon, request.delta):
        nothing = _nothing_tested(parts, request, sum(gflops))
        return Calibrated(_everyone(gflops), _report(gflops, parts, request, None, nothing))
    labels = None if sample.labels is None else sample.labels[parts.choosing]
    budget = allowed_errors(len(parts.testing), request.epsilon, request.delta) / len(parts.testing)
    plan = choose(combine, gflops, parts.choosing, labels, request, budget)
    cascade, tested = examine(plan, combine, sample, parts, request)
    return Calibrated(cascade, _report(gflops, parts, request, plan.chosen, tested))


def examine(
    plan: Plan, combine: Combine, sample: CalibrationSample, parts: Parts, request: CalibrationRequest
) -> tuple[Cascade, Tested]:
    """The plan's path on the testing part, and the cascade at the last step that passes."""
    trace = replay(plan.cascade(0), combine, parts.testing)
    errors = [trace.outcome(thresholds)[0] for thresholds in plan.path]
    certificate = last_passing(errors, trace.images, request.epsilon, request.delta)
    step = certificate.step or 0
    cascade = without_idle_stages(plan.cascade(step))
    gap = None
    if sample.labels is not None:
        gap = _accuracy_gap(plan, trace, step, sample.labels[parts.testing], request)
    tested = Tested(
        images=trace.images,
        path_steps=len(plan.path),
        step=certificate.step,
        disagreements=certificate.errors,
        disagreements_allowed=certificate.allowed,
        p_value=certificate.p_value,
        disagreements_beyond=errors[step + 1] if step + 1 < len(errors) else None,
        gflops=trace.outcome(plan.path[step])[1],
        exit_shares=_exit_shares(plan, cascade, trace.levels(plan.path[step])),
        accuracy_gap=gap,
    )
    return cascade, tested


def split(sample: CalibrationSample) -> Parts:
    """Each distinct image once, images of the fit left out; half choose and half test.

    Who does what follows from the set of images alone, not from their order or a seed that could be tried until it
    suits; and another sample splits anew (a digest's own half would be the same in every sample from one pool).
    """
    first: dict[str, int] = {}
    for row, digest in enumerate(sample.digests):
        first.setdefault(digest, row)
    kept = {digest: row for digest, row in first.items() if digest not in sample.fitted}
    salt = hashlib.sha256("\n".join(sorted(kept)).encode()).digest()
    shuffled = sorted(kept, key=lambda digest: hashlib.sha256(salt + digest.encode()).digest())
    rows = np.array([kept[digest] for digest in shuffled], dtype=np.int64)
    choosing = int(len(rows) * CHOOSING_SHARE)
    return Parts(rows[:choosing], rows[choosing:], len(sample.digests) - len(first), len(first) - len(kept))


def images_needed(epsilon: float, delta: float) -> int:
    """The fewest distinct images with which anybody can leave early: the testing part alone must be a
    `smallest_sample`, and the choosing part must not be empty."""
    needed = smallest = smallest_sample(epsilon, delta)
    while int(needed * CHOOSING_SHARE) < 1 or needed - int(needed * CHOOSING_SHARE) < smallest:
        needed += 1
    return needed


def without_idle_stages(cascade: Cascade) -> Cascade:
    """The same decisions in fewer rounds: who is asked after a stage that nobody leaves is asked along with it."""
    if not cascade.leaves_early:
        everyone = tuple(member for stage in cascade.stages for member in stage)
        last = cascade.temperature(len(cascade.stages), everyone)
        return Cascade(cascade.gflops, cascade.exit_score, (everyone,), (), (last,))
    if cascade.router is not None:
        return cascade
    ends = [number for number, threshold in enumerate(cascade.thresholds) if threshold < NEVER]
    ends.append(len(cascade.stages) - 1)
    starts = [0, *(end + 1 for end in ends[:-1])]
    stages = tuple(
        tuple(member for stage in cascade.stages[start : end + 1] for member in stage)
        for start, end in zip(starts, ends, strict=True)
    )
    thresholds = tuple(cascade.thresholds[end] for end in ends[:-1])
    return Cascade(cascade.gflops, cascade.exit_score, stages, thresholds, tuple(cascade.temperatures[e] for e in ends))


def _exit_shares(plan: Plan, cascade: Cascade, levels: Integers) -> tuple[float, ...]:
    """Share of images that leave after each stage of the finished `cascade`; `levels` are those of the plan."""
    at_level = np.bincount(levels, minlength=len(plan.stages)) / len(levels)
    if cascade.router is None:  # a stage of the finished cascade ends with the plan's stage that has asked as many
        asked = np.cumsum([len(stage) for stage in plan.stages])
        at_level = at_level[np.searchsorted(asked, np.cumsum([len(stage) for stage in cascade.stages]))]
    return tuple(float(share) for share in at_level)


def _accuracy_gap(plan: Plan, trace: Trace, step: int, labels: Integers, request: CalibrationRequest) -> AccuracyGap:
    images = np.arange(trace.images)
    full = trace.top[-1] == labels
    early = [trace.top[trace.levels(thresholds), images] == labels for thresholds in plan.path[: step + 1]]
    worse = [int((full & ~right).sum()) for right in early]
    better = [int((right & ~full).sum()) for right in early]
    bound = certified_gap(worse, better, trace.images, step, request.epsilon, request.delta)
    observed = (worse[step] - better[step]) / trace.images
    return AccuracyGap(float(early[step].mean()), float(full.mean()), observed, bound)


def _everyone(gflops: Sequence[float]) -> Cascade:
    """All backbones in one stage, cheapest first: nobody can leave early."""
    order = tuple(sorted(range(len(gflops)), key=lambda member: (gflops[member], member)))
    return Cascade(tuple(gflops), "probability", (order,), (), (1.0,))


def _nothing_tested(parts: Parts, request: CalibrationRequest, gflops_full: float) -> Tested:
    images = len(parts.testing)
    p_value = binomial_cdf(0, images, request.epsilon)
    return Tested(images, 0, None, 0, -1, p_value, None, gflops_full, (1.0,), None)


def _report(
    gflops: Sequence[float], parts: Parts, request: CalibrationRequest, chosen: Chosen | None, tested: Tested
) -> Report:
    return Report(
        epsilon=request.epsilon,
        delta=request.delta,
        images_needed=images_needed(request.epsilon, request.delta),
        dropped_duplicates=parts.dropped_duplicates,
        dropped_fitted=parts.dropped_fitted,
        gflops_full=sum(gflops),
        chosen=chosen,
        tested=tested,
        message=_message(gflops, parts, request, tested),
    )


def _message(gflops: Sequence[float], parts: Parts, request: CalibrationRequest, tested: Tested) -> str | None:
    if len(gflops) == 1:
        return "There is one backbone: nobody to leave out."
    if tested.step is None:
        images = len(parts.choosing) + len(parts.testing)
        return (
            f"At epsilon {request.epsilon:g} and delta {request.delta:g} at least "
            f"{images_needed(request.epsilon, request.delta):,} distinct images are needed that nothing was fitted on, "
            f"{images:,} came: every image asks the full committee."
        )
    if len(tested.exit_shares) == 1:
        return (
            f"The first step at which images leave gets {tested.disagreements_beyond} of {tested.images:,} testing "
            f"images wrong, {tested.disagreements_allowed} are allowed: every image asks the full committee."
        )
    return None


def _check(gflops: Sequence[float], sample: CalibrationSample, request: CalibrationRequest) -> None:
    check_levels(request.epsilon, request.delta)
    if not gflops or not all(0 < cost < math.inf for cost in gflops):
        raise ValueError("a committee has at least one backbone, and each costs something")
    if sample.labels is not None and sample.labels.shape != (len(sample.digests),):
        raise ValueError(f"{len(sample.digests)} digests, but labels of shape {sample.labels.shape}")
    if request.best_fixed is not None and not 0 <= request.best_fixed < len(gflops):
        raise InvalidRequestError(f"There is no backbone {request.best_fixed}.", param="best_fixed")
    if request.stages is not None:
        asked = sorted(member for stage in request.stages for member in stage)
        if asked != list(range(len(gflops))) or not all(request.stages):
            raise InvalidRequestError("stages must name every backbone once, and none may be empty.", param="stages")
