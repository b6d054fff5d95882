"""A search of a gallery, the one file that knows its order: embed, weigh, fold, search; a cascade perhaps twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.deadline import Deadline
from service.errors import DeadlineExceededError, NotFoundError, QuorumError, UnavailableError
from service.galleries.base import Found, GallerySpec, GalleryStore, Item, ItemAbout, VectorField
from service.pipeline.embed import Embedder
from service.pipeline.retrieval.evidence import ById, Part, SearchEvidence, cost_of, embedding_of
from service.pipeline.retrieval.galleries import Ready
from service.pipeline.retrieval.plan import SearchPlan
from service.pipeline.retrieval.query_vectors import (
    CANDIDATES,
    QueryVector,
    confidence,
    fold,
    packed,
    scores_by_backbone,
)
from service.policies import SearchExit, SearchPolicy
from service.repository import Backbone
from service.timings import Timings


@dataclass(frozen=True, slots=True)
class SearchCall:
    """`queries` are parts to be mixed, or what is wrong with a query. `where` is a compiled filter."""

    spec: GallerySpec
    plan: SearchPlan
    queries: tuple[tuple[Part, ...] | QuorumError, ...]
    top_k: int
    where: str | None
    explain: bool
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Hit:
    """`scores` by backbone, where they were asked for."""

    about: ItemAbout
    score: float
    scores: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of one query, best first. `weights` are of those whose scores the ranking is made of, of sum 1.

    `confidence` is the first stage's, under `cascade` only. `calls` names who embedded something for this query alone.
    """

    hits: tuple[Hit, ...]
    policy: SearchPolicy
    controller: str | None
    confidence: float | None
    exit_reason: SearchExit
    stages: int
    weights: Mapping[str, float]
    failed: tuple[str, ...]
    calls: tuple[str, ...]
    gflops: float
    gflops_full: float


@dataclass(frozen=True, slots=True, eq=False)
class _Folded:
    """A query that can be searched for. `failed` could not answer for all of its parts."""

    query: QueryVector
    failed: tuple[str, ...]


class Searcher:
    def __init__(self, embedder: Embedder, store: GalleryStore) -> None:
        self._embedder = embedder
        self._store = store

    async def search(self, call: SearchCall, timings: Timings) -> list[Answer | QuorumError]:
        """One answer or error per query, in order. Raises what the store raises before anything is answered."""
        return await _Search(self._embedder, self._store, call, timings).run()


class _Search:
    """One call. Queries are known by their index."""

    def __init__(self, embedder: Embedder, store: GalleryStore, call: SearchCall, timings: Timings) -> None:
        self._embedder = embedder
        self._store = store
        self._call = call
        self._timings = timings
        self._answers: dict[int, Answer | QuorumError] = {
            index: query for index, query in enumerate(call.queries) if isinstance(query, QuorumError)
        }
        self._queries = {index: query for index, query in enumerate(call.queries) if not isinstance(query, QuorumError)}
        self._paid: set[tuple[object, str]] = set()

    async def run(self) -> list[Answer | QuorumError]:
        self._evidence = await self._gather_items()
        open_ = set(self._queries)
        if self._call.plan.first:
            # Whoever is embedded already costs nothing to ask: such a query is everybody's at once.
            first = {index for index in open_ if any(_is_asked(part) for part in self._queries[index])}
            await self._stage(first, self._call.plan.first, stage=1)
            open_ -= {index for index in first if not self._is_open(index)}
        await self._stage(open_, self._call.plan.asked, stage=2 if self._call.plan.first else 1)
        return [self._answers[index] for index in range(len(self._call.queries))]

    def _is_open(self, index: int) -> bool:
        """Whether the first stage is not the end: its answer is not sure enough, or it had nobody to speak."""
        answer = self._answers[index]
        if isinstance(answer, QuorumError):
            return answer.status >= 500
        return answer.exit_reason != "confident"

    async def _gather_items(self) -> SearchEvidence:
        call = self._call
        parts = [part for query in self._queries.values() for part in query]
        wanted = list(dict.fromkeys(part.thing.id for part in parts if isinstance(part.thing, ById)))
        items: dict[str, Item] = {}
        if wanted:
            with self._timings.measure("gallery"):
                items = await self._store.fetch(call.spec, wanted, call.deadline)
        for index, query in list(self._queries.items()):
            for part in query:
                if isinstance(part.thing, ById) and part.thing.id not in items:
                    self._answers[index] = NotFoundError(
                        f'The gallery holds no item "{part.thing.id}".', param=part.param
                    )
                    del self._queries[index]
                    break
        return SearchEvidence(self._embedder, call.spec, parts, items, call.plan.asked, call.deadline, self._timings)

    async def _stage(self, indices: set[int], backbones: tuple[Backbone, ...], *, stage: int) -> None:
        """Embed what these backbones were not asked about, and answer; an answer of before stays if this one fails."""
        if not indices:
            return
        chosen = sorted(indices)
        things = [part.thing for index in chosen for part in self._queries[index]]
        await self._evidence.ask(things, backbones)
        ready: dict[int, _Folded] = {}
        for index in chosen:
            try:
                ready[index] = self._fold(self._queries[index], backbones)
            except QuorumError as error:
                self._failed(index, error, backbones)
        await self._find(ready, backbones, stage)

    def _fold(self, parts: Sequence[Part], backbones: Sequence[Backbone]) -> _Folded:
        """Raises the error of a part that nobody can speak of."""
        places = packed(self._call.spec.parts, _names(self._searched(backbones), self._call.spec))
        mixed, failed = [], set()
        for part in parts:
            outcomes = {each.name: self._evidence.outcome(part.thing, each) for each in backbones}
            known = {name: row for name, each in outcomes.items() if (row := embedding_of(each)) is not None}
            failed |= outcomes.keys() - known.keys()
            if not known:
                raise _worst([each.outcome for each in outcomes.values()]).with_param(part.param)
            modality = self._evidence.modality(part.thing)
            mixed.append((part.weight, self._call.plan.voices(list(known), list(known.values()), modality)))
        return _Folded(fold(mixed, places), tuple(each.name for each in backbones if each.name in failed))

    def _searched(self, backbones: Sequence[Backbone]) -> VectorField:
        """The cheaper field is enough for those who are all in it."""
        return "prefix" if {each.name for each in backbones} <= set(self._call.spec.prefix) else "committee"

    async def _find(self, ready: Mapping[int, _Folded], backbones: tuple[Backbone, ...], stage: int) -> None:
        call, field = self._call, self._searched(backbones)
        if not ready:
            return
        is_first = bool(call.plan.first) and stage == 1
        left_out = max(len(_own_ids(self._queries[index])) for index in ready)
        limit = max(call.top_k, CANDIDATES if is_first else 0) + left_out
        vectors = np.stack([each.query.vector for each in ready.values()])
        try:
            with self._timings.measure("gallery"):
                found = await self._store.search(
                    call.spec,
                    field,
                    vectors,
                    limit=limit,
                    where=call.where,
                    embeddings=call.explain,
                    deadline=call.deadline,
                )
        except (DeadlineExceededError, UnavailableError) as error:
            for index in ready:
                self._failed(index, error, backbones)
            return
        for index, hits in zip(ready, found, strict=True):
            self._answers[index] = self._answer(index, ready[index], hits, backbones, stage)

    def _failed(self, index: int, error: QuorumError, backbones: Sequence[Backbone]) -> None:
        """The first stage's answer is better than none, and says that it is not what was asked for. What was embedded
        in vain is paid for."""
        before = self._answers.get(index)
        if isinstance(before, Answer):
            calls, gflops = self._pay(self._queries[index], backbones)
            self._answers[index] = replace(
                before, exit_reason="degraded", calls=(*before.calls, *calls), gflops=before.gflops + gflops
            )
        else:
            self._answers[index] = error

    def _answer(
        self, index: int, ready: _Folded, found: Sequence[Found], backbones: Sequence[Backbone], stage: int
    ) -> Answer:
        call, parts = self._call, self._queries[index]
        own = _own_ids(parts)
        kept = [each for each in found if each.about.id not in own]
        before = self._answers.get(index)
        earlier = before if isinstance(before, Answer) else None
        sure, exit_reason = None if earlier is None else earlier.confidence, _exit(ready, earlier)
        if call.plan.first and stage == 1:
            sure = confidence([each.score for each in kept], ready.query.sharpness)
            enough = call.plan.is_enough(sure, [self._evidence.modality(part.thing) for part in parts])
            exit_reason = "confident" if enough and not ready.failed else "degraded"
        calls, gflops = self._pay(parts, backbones)
        return Answer(
            hits=tuple(self._hit(ready.query, each, backbones) for each in kept[: call.top_k]),
            policy=call.plan.policy,
            controller=None if call.plan.controller is None else call.plan.controller.name,
            confidence=sure,
            exit_reason=exit_reason,
            stages=1 if earlier is None else 2,
            weights={name: weight for name, weight in ready.query.weights.items() if weight > 0},
            failed=ready.failed,
            calls=(*(earlier.calls if earlier else ()), *calls),
            gflops=gflops + (earlier.gflops if earlier else 0.0),
            gflops_full=sum(cost_of(part.thing, each) for part in parts for each in call.plan.asked),
        )

    def _hit(self, query: QueryVector, found: Found, backbones: Sequence[Backbone]) -> Hit:
        if found.embedding is None:
            return Hit(found.about, found.score, None)
        spec = self._call.spec
        places = packed(spec.parts, _names(self._searched(backbones), spec))
        item = np.concatenate([found.embedding[spec.parts[name]] for name in places])
        return Hit(found.about, found.score, scores_by_backbone(query, item, places))

    def _pay(self, parts: Sequence[Part], backbones: Sequence[Backbone]) -> tuple[list[str], float]:
        """Who embedded something for this query, and the cost. What two queries look for is paid by the first."""
        calls, gflops = [], 0.0
        for part in parts:
            for each in backbones:
                bill = (part.thing, each.name)
                embedded = self._evidence.outcome(part.thing, each)
                if embedded.cached or embedding_of(embedded) is None or bill in self._paid:
                    continue
                self._paid.add(bill)
                calls.append(each.name)
                gflops += cost_of(part.thing, each)
        return calls, gflops


def _exit(ready: _Folded, earlier: Answer | None) -> SearchExit:
    if ready.failed:
        return "degraded"
    return "full" if earlier is None else "escalated"


def _is_asked(part: Part) -> bool:
    """Whether a backbone has to work for it."""
    return not isinstance(part.thing, ById | Ready)


def _own_ids(parts: Sequence[Part]) -> set[str]:
    return {part.thing.id for part in parts if isinstance(part.thing, ById)}


def _names(field: VectorField, spec: GallerySpec) -> list[str]:
    names = [member.name for member in spec.members]
    return names if field == "committee" else [name for name in names if name in spec.prefix]


def _worst(outcomes: Sequence[object]) -> QuorumError:
    """What the caller can mend comes first."""
    errors = [each for each in outcomes if isinstance(each, QuorumError)]
    return min(errors, key=lambda error: error.status >= 500)
