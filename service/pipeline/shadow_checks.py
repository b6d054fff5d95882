"""Checks in the background whether cascades keep their promises: a sample of their images is asked of everybody.

The sample is drawn from *all* images that a promised cascade was asked about, before anything is known of their way, so
that its share of disagreements is an unbiased estimate of what the promise is about. An image that everybody answered
is the full committee's answer already and costs nothing, but stands in the same queue as the others: if it were counted
at once, whatever is dropped under load would be images that left early, and the share would look too good. An image
whose answer was cut short (deadline, failure) is walked again on what the whole committee says.

Requests come first. Nothing is sampled or worked on while many are in flight; one image is asked at a time, of one
backbone at a time, so a request waits for one row of one backbone at most; and the work stays under a budget. Counts
are in this process' memory and begin anew with it. Images are held for a stated time, never stored.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from cachetools import TTLCache

from service.deadline import Deadline, deadline_error
from service.errors import DeadlineExceededError, QuorumError
from service.liveness import ended
from service.pipeline.classify import ClassifyQuery
from service.pipeline.embed import Embedded, Embedder, Image
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelSet
from service.pipeline.logits import Floats
from service.pipeline.plan import CascadeId, Plan, everyone_at_once
from service.pipeline.shadow import Tally
from service.pipeline.walk import Decision, Walk
from service.repository import Backbone
from service.timings import Timings

log = logging.getLogger(__name__)

MAX_WATCHED: Final = 256
"""Label sets whose cascades are counted; those that were used longest ago are forgotten."""

FORGOTTEN_AFTER_S: Final = 86_400.0
"""Without a request; its counts begin anew then."""

SPEAKS_FOR_S: Final = 900.0
"""Without a request. What nobody uses any more is no alarm: a cascade that was deleted through another gateway is not
used here either, and nobody tells this process."""

ShadowOutcome = Literal["agreed", "disagreed", "failed", "dropped"]


class ShadowObserver(Protocol):
    def shadow_checked(self, outcome: ShadowOutcome) -> None: ...

    def shadow_worked(self, gflops: float) -> None: ...

    def shadow_alerted(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ShadowLimits:
    """`rate`: share of images; `gflops_per_s`: of work beside requests. `max_waiting` images wait for it, each for
    `max_wait_s` at most, its own check included. `poll_s`: between two looks whether there is room."""

    rate: float
    gflops_per_s: float
    max_waiting: int = 16
    max_wait_s: float = 30.0
    poll_s: float = 0.05


@dataclass(frozen=True, slots=True)
class _Sample:
    """`answered` is the position of the label that was answered under the promise, None where that was cut short.
    `image` is None where everybody was asked already. It is of no use after `until`."""

    plan: Plan
    calibrated: CascadeId
    label_set: LabelSet
    answered: int | None
    image: Image | None
    until: Deadline


class ShadowChecks:
    """Used from the event loop alone. `has_room` says whether requests leave room for other work."""

    def __init__(
        self,
        embedder: Embedder,
        matrices: LabelMatrices,
        limits: ShadowLimits,
        has_room: Callable[[], bool],
        observer: ShadowObserver,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._embedder = embedder
        self._matrices = matrices
        self._limits = limits
        self._has_room = has_room
        self._observer = observer
        self._chance = chance
        self._waiting: deque[_Sample] = deque()
        self._wake = asyncio.Event()
        self._owed_s = 0.0
        self._worker: asyncio.Task[None] | None = None
        self._tallies: TTLCache[str, tuple[CascadeId, Tally]] = TTLCache(MAX_WATCHED, FORGOTTEN_AFTER_S)
        self._used: TTLCache[str, None] = TTLCache(MAX_WATCHED, SPEAKS_FOR_S)

    async def start(self) -> None:
        self._worker = asyncio.create_task(self._work(), name="shadow checks")

    async def close(self) -> None:
        """Whatever waits or is at work is forgotten."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._waiting.clear()

    def problems(self) -> list[str]:
        """What is broken for good, one sentence each."""
        return ended(self._worker)

    def offer(self, query: ClassifyQuery, results: Sequence[Decision | QuorumError]) -> None:
        """Sample images that were just answered. Does not wait for anything."""
        plan = query.plan
        if plan.calibrated is None or plan.promise is None or not plan.limits.none:
            return
        self._watch(plan.calibrated, plan.promise.epsilon)
        for image, result in zip(query.images, results, strict=True):
            if isinstance(result, Decision) and isinstance(image, Image) and self._chance() < self._limits.rate:
                self._take(plan, plan.calibrated, image, result)

    def seen(self, cascade: CascadeId) -> Tally | None:
        """A copy of what is known of a cascade; None before it was first used in this process."""
        watched, tally = self._tallies.get(cascade.label_set, (None, None))
        return replace(tally) if tally is not None and watched == cascade else None

    def worst(self) -> Tally | None:
        """That of the cascade, of those in use, whose lower bound exceeds its promise by most."""
        tallies = [found[1] for name in list(self._used) if (found := self._tallies.get(name))]
        return max(tallies, key=lambda tally: tally.excess, default=None)

    def forget(self, label_set: str) -> None:
        """Its cascade was deleted."""
        self._tallies.pop(label_set, None)
        self._used.pop(label_set, None)

    def _watch(self, cascade: CascadeId, epsilon: float) -> None:
        """One cascade per label set is counted, that of the newest request."""
        watched, tally = self._tallies.get(cascade.label_set, (None, None))
        if tally is None or watched != cascade:
            tally = Tally(epsilon)
        self._tallies[cascade.label_set] = (cascade, tally)  # also where it is there: its time begins anew
        self._used[cascade.label_set] = None

    def _take(self, plan: Plan, calibrated: CascadeId, image: Image, decision: Decision) -> None:
        self._drop_late()
        if len(self._waiting) >= self._limits.max_waiting or not self._has_room():
            self._observer.shadow_checked("dropped")
            return
        whole = len(decision.votes) == len(plan.backbones)
        answered = None if decision.promise is None else int(decision.probabilities.argmax())
        until = Deadline.after(self._limits.max_wait_s)
        kept = None if whole else image
        self._waiting.append(_Sample(plan, calibrated, decision.label_set, answered, kept, until))
        self._wake.set()

    def _drop_late(self) -> None:
        while self._waiting and self._waiting[0].until.passed:
            self._waiting.popleft()
            self._observer.shadow_checked("dropped")

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            await self._handle(self._waiting.popleft())
            await self._keep_to_budget()

    async def _keep_to_budget(self) -> None:
        """Pause for what the last check cost; nobody's image is held longer for it."""
        pause = Deadline.after(self._owed_s)
        self._owed_s = 0.0
        while not pause.passed:
            await asyncio.sleep(min(1.0, pause.remaining_s))
            self._drop_late()

    async def _handle(self, sample: _Sample) -> None:
        try:
            agrees = sample.image is None or await self._agrees(sample, sample.image)
        except DeadlineExceededError:
            self._observer.shadow_checked("dropped")
        except QuorumError:  # whoever failed is counted and logged where it failed
            self._observer.shadow_checked("failed")
        except Exception:  # a bug here must not end the checks in silence
            log.exception("a shadow check failed")
            self._observer.shadow_checked("failed")
        else:
            self._count(sample, agrees)

    def _count(self, sample: _Sample, agrees: bool) -> None:
        self._observer.shadow_checked("agreed" if agrees else "disagreed")
        watched, tally = self._tallies.get(sample.calibrated.label_set, (None, None))
        if tally is None or watched != sample.calibrated or not tally.count(agrees=agrees):
            return
        self._observer.shadow_alerted()
        log.warning(
            "a cascade answers otherwise than the full committee more often than it promises; calibrate it anew",
            extra={
                "cascade": f"{sample.calibrated.label_set}/{sample.calibrated.version}",
                "checked": tally.checked,
                "disagreements": tally.disagreements,
                "lower_bound": round(tally.lower_bound, 4),
                "epsilon": tally.epsilon,
            },
        )

    async def _agrees(self, sample: _Sample, image: Image) -> bool:
        """Ask everybody. Raises `QuorumError` when somebody does not answer."""
        plan = sample.plan
        await self._wait_for_room(sample.until)
        matrices = await self._class_embeddings(sample)
        embedded = await self._embed(plan.backbones, image, sample.until)
        everyone = replace(plan, cascade=everyone_at_once(plan.backbones))
        answered = sample.answered
        if answered is None:
            answered = _top(_walked(plan, sample.label_set, embedded, matrices))
        return answered == _top(_walked(everyone, sample.label_set, embedded, matrices))

    async def _class_embeddings(self, sample: _Sample) -> dict[str, Floats]:
        found = await self._matrices.of(sample.label_set, sample.plan.backbones, sample.until)
        for matrix in found.values():
            if isinstance(matrix, QuorumError):
                raise matrix
        return {name: matrix for name, matrix in found.items() if not isinstance(matrix, QuorumError)}

    async def _embed(self, backbones: Sequence[Backbone], image: Image, until: Deadline) -> dict[str, Embedded]:
        """One after the other, each when there is room."""
        batch = self._embedder.batch([image], backbones, until, Timings())
        found: dict[str, Embedded] = {}
        for backbone in backbones:
            await self._wait_for_room(until)
            given = (await batch.ask({0: [backbone]}))[0]
            if isinstance(given, QuorumError):
                raise given
            found |= given
            embedded = given[backbone.name]
            if isinstance(embedded.outcome, QuorumError):
                raise embedded.outcome
            if not embedded.cached:
                self._owed_s += backbone.gflops / self._limits.gflops_per_s
                self._observer.shadow_worked(backbone.gflops)
        return found

    async def _wait_for_room(self, until: Deadline) -> None:
        while not self._has_room():
            if until.passed:
                raise deadline_error("waiting for room beside requests")
            await asyncio.sleep(self._limits.poll_s)
            self._drop_late()


def _walked(
    plan: Plan,
    label_set: LabelSet,
    embedded: Mapping[str, Embedded],
    matrices: Mapping[str, Floats],
) -> Decision:
    """What `plan` answers when everything is known already. Raises `QuorumError` when nobody answers."""
    walk = Walk(plan, label_set)
    while (step := walk.next()).ask:
        walk.hear(step.ask, embedded, matrices)
    decision = walk.decide(step)
    if isinstance(decision, QuorumError):
        raise decision
    return decision


def _top(decision: Decision) -> int:
    return int(decision.probabilities.argmax())
