"""One classify request from bytes to decisions: the only file that knows the order of the stages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from service.deadline import Deadline
from service.errors import QuorumError
from service.pipeline.cascade.cascade import Step
from service.pipeline.embed import Embedder, Image, ImageBatch
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelSet
from service.pipeline.logits import Floats
from service.pipeline.plan import Plan
from service.pipeline.walk import Decision, Walk
from service.repository import Backbone
from service.timings import Timings
from service.trail import Span, span

Results = dict[int, Decision | QuorumError]


@dataclass(frozen=True, slots=True)
class ClassifyQuery:
    """`images` may hold errors already: items whose bytes could not even be read from the request."""

    images: tuple[Image | QuorumError, ...]
    label_set: LabelSet
    plan: Plan
    deadline: Deadline


class Classifier:
    def __init__(self, embedder: Embedder, matrices: LabelMatrices) -> None:
        self._embedder = embedder
        self._matrices = matrices

    async def classify(self, query: ClassifyQuery, timings: Timings) -> list[Decision | QuorumError]:
        """One decision or error per image, in order, by the query's deadline.

        In every round each image decides for itself whether it leaves and whom it asks next; what is left is asked
        together, and meets other requests' images at the backbones. Raises `InvalidRequestError` when the plan's limits
        leave nobody to ask.
        """
        images = [image for image in query.images if isinstance(image, Image)]
        with span("committee", policy=query.plan.policy, promised=query.plan.promise is not None) as work:
            results = await self._walk(query, images, timings)
            _describe(work, results.values())
        answers = (results[index] for index in range(len(images)))
        return [image if isinstance(image, QuorumError) else next(answers) for image in query.images]

    async def _walk(self, query: ClassifyQuery, images: list[Image], timings: Timings) -> Results:
        """By index in `images`."""
        batch = self._embedder.batch(images, query.plan.backbones, query.deadline, timings)
        walks = {index: Walk(query.plan, query.label_set) for index in range(len(images))}
        results: Results = {}
        rounds = 0
        while walks:
            with timings.measure("decide", part="exits", images=len(walks)) as exits:
                asking = _leave_or_ask(walks, results, late=query.deadline.passed)
                exits.put(asking_on=len(asking))
            if asking:
                rounds += 1
                with span("round", number=rounds, images=len(asking)):
                    await self._round(query, batch, asking, walks, results, timings)
        return results

    async def _round(
        self,
        query: ClassifyQuery,
        batch: ImageBatch,
        asking: dict[int, tuple[int, ...]],
        walks: dict[int, Walk],
        results: Results,
        timings: Timings,
    ) -> None:
        """Ask once; an image that turns out to be broken leaves `walks` for `results`."""
        everyone = query.plan.backbones
        members = {position: everyone[position] for positions in asking.values() for position in positions}
        embedded, matrices = await asyncio.gather(
            batch.ask({index: [everyone[position] for position in asked] for index, asked in asking.items()}),
            self._label_matrices(query, list(members.values()), timings),
        )
        with timings.measure("decide", part="controller", images=len(asking)):
            for index, asked in asking.items():
                given = embedded[index]
                if isinstance(given, QuorumError) and not walks[index].answers:
                    results[index] = given
                    del walks[index]
                else:
                    walks[index].hear(asked, given, matrices)

    async def _label_matrices(
        self, query: ClassifyQuery, backbones: list[Backbone], timings: Timings
    ) -> dict[str, Floats | QuorumError]:
        with timings.measure("labels"):
            return await self._matrices.of(query.label_set, backbones, query.deadline)


def _leave_or_ask(walks: dict[int, Walk], results: Results, *, late: bool) -> dict[int, tuple[int, ...]]:
    """Whom each image asks next, by index; one that leaves goes from `walks` to `results`.

    When it is `late`, whoever has an answer leaves with it.
    """
    asking: dict[int, tuple[int, ...]] = {}
    for index, walk in list(walks.items()):
        step: Step = walk.next()
        if step.ask and not (late and walk.answers):
            asking[index] = step.ask
        else:
            results[index] = walk.decide(step, late=late and bool(step.ask))
            del walks[index]
    return asking


def _describe(work: Span, results: Collection[Decision | QuorumError]) -> None:
    decisions = [result for result in results if isinstance(result, Decision)]
    left = Counter(decision.exit_reason for decision in decisions)
    failures = [result.code for result in results if isinstance(result, QuorumError)]
    work.put(
        images=len(results),
        images_failed=len(failures),
        stages=max((decision.stages for decision in decisions), default=0),
        gflops=sum(decision.gflops for decision in decisions),
        gflops_spared=sum(decision.gflops_spared for decision in decisions),
        failed=sorted({name for decision in decisions for name in decision.failed}) or None,
        **{f"exits.{reason}": count for reason, count in left.items()},
    )
    if failures and not decisions:
        work.failed(failures[0])
