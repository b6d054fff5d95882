from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.errors import (
    BackboneFailedError,
    ConflictError,
    InvalidImageError,
    InvalidTextError,
    NotFoundError,
    QuorumError,
    UnavailableError,
    UnknownBackboneError,
)
from service.pipeline.embed import Embedder, Image
from service.pipeline.retrieval.evidence import ById, Part, Thing
from service.pipeline.retrieval.galleries import Ready
from service.pipeline.retrieval.plan import SearchPlan, SearchWish, plan_search
from service.pipeline.retrieval.query_vectors import CANDIDATES
from service.pipeline.retrieval.search import Answer, SearchCall, Searcher
from service.pipeline.shipped.retrieval import ShippedRetrieval, load_shipped_retrieval
from service.policies import SearchPolicy
from service.repository import Zoo
from service.timings import Timings
from tests.support.galleries import MemoryGalleries, spec_of, unit_item
from tests.support.images import jpeg
from tests.support.retrieval import ship

ITEMS = 100


class Search:
    """A gallery of random items, and searches in it. A small wide gallery leaves the fake engine's queries unsure."""

    def __init__(self, embedder: Embedder, zoo: Zoo, shipped: ShippedRetrieval | None) -> None:
        self.zoo, self.shipped = zoo, shipped
        self.spec = spec_of(zoo)
        self.store = MemoryGalleries()
        self.items = {f"i{n:03}": unit_item(self.spec, f"i{n:03}", n) for n in range(ITEMS)}
        self.store.contents[self.spec.name] = dict(self.items)
        self._searcher = Searcher(embedder, self.store)

    def plan(
        self,
        policy: SearchPolicy | None = None,
        backbones: tuple[str, ...] | None = None,
        min_confidence: float | None = None,
    ) -> SearchPlan:
        wish = SearchWish(policy, backbones, min_confidence)
        return plan_search(wish, self.spec, self.zoo.backbones, self.shipped)

    async def __call__(
        self,
        *queries: Thing | tuple[Part, ...] | QuorumError,
        plan: SearchPlan | None = None,
        top_k: int = 5,
        explain: bool = False,
    ) -> list[Answer | QuorumError]:
        asked = tuple(
            each if isinstance(each, tuple | QuorumError) else (Part(each, 1.0, f"queries[{index}]"),)
            for index, each in enumerate(queries)
        )
        call = SearchCall(self.spec, plan or self.plan(), asked, top_k, None, explain, Deadline.after(5))
        return await self._searcher.search(call, Timings())

    async def one(self, query: Thing | tuple[Part, ...], *, plan: SearchPlan | None = None) -> Answer:
        (answer,) = await self(query, plan=plan, explain=True)
        assert isinstance(answer, Answer), answer
        return answer


@pytest.fixture
def shipped(repository_copy: Path, fake_zoo: Zoo) -> ShippedRetrieval | None:
    ship(repository_copy, fake_zoo)
    return load_shipped_retrieval(repository_copy, fake_zoo)


@pytest.fixture
def search(embedder: Embedder, fake_zoo: Zoo, shipped: ShippedRetrieval) -> Search:
    return Search(embedder, fake_zoo, shipped)


@pytest.fixture
def plain(embedder: Embedder, fake_zoo: Zoo) -> Search:
    """Nothing is shipped."""
    return Search(embedder, fake_zoo, None)


def ids(answer: Answer | QuorumError) -> list[str]:
    assert isinstance(answer, Answer), answer
    return [hit.about.id for hit in answer.hits]


def picture(seed: int = 1) -> Image:
    return Image.of(jpeg(seed=seed))


async def test_hits_are_ranked_by_the_weighted_committee(search: Search) -> None:
    answer = await search.one("a cat")
    assert (answer.policy, answer.exit_reason, answer.stages) == ("nlc", "full", 1)
    assert answer.controller == search.shipped.name if search.shipped else None
    assert sum(answer.weights.values()) == pytest.approx(1)
    for hit in answer.hits:
        assert hit.scores is not None
        assert hit.score == pytest.approx(sum(answer.weights[name] * hit.scores[name] for name in hit.scores), abs=1e-5)
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)


async def test_weights_depend_on_the_query_and_on_what_it_is(search: Search) -> None:
    answers = [await search.one(query) for query in ("a cat", "a dog", picture())]
    assert len({round(answer.weights["small"], 6) for answer in answers}) == 3


async def test_without_controllers_the_mean_answers(plain: Search) -> None:
    answer = await plain.one("a cat")
    scales = {each.name: each.logit_scale / each.temperature for each in plain.zoo.backbones}
    assert (answer.policy, answer.controller) == ("mean", None)
    assert answer.weights["small"] == pytest.approx(scales["small"] / sum(scales.values()))


async def test_a_single_backbone_ranks_by_its_own_cosine(search: Search) -> None:
    answer = await search.one("a cat", plan=search.plan("single", ("large",)))
    assert answer.weights == {"large": 1.0}
    assert answer.hits[0].scores is not None
    assert dict(answer.hits[0].scores) == pytest.approx({"large": answer.hits[0].score})
    assert answer.calls == ("large",)
    assert search.store.searches == [("committee", 1, 5)]


async def test_who_is_all_in_the_prefix_searches_the_smaller_field(search: Search) -> None:
    await search.one("a cat", plan=search.plan("single", ("small",)))
    assert search.store.searches == [("prefix", 1, 5)]


async def test_an_item_is_its_own_nearest_neighbour_and_left_out(search: Search) -> None:
    ready = Ready(search.items["i007"].embedding, "ab" * 32, "image")
    assert ids(await search.one(ready))[0] == "i007"
    answer = await search.one(ById("i007"))
    assert ids(answer) == ids((await search(ready, top_k=6))[0])[1:]
    assert (answer.gflops, answer.calls) == (0, ())


async def test_an_item_is_weighed_by_what_it_is_of(search: Search) -> None:
    as_image = Ready(search.items["i007"].embedding, "ab" * 32, "image")
    assert (await search.one(ById("i007"))).weights == (await search.one(as_image)).weights
    unknown = await search.one(replace(as_image, modality="unknown"))
    assert unknown.weights == (await search.one(as_image, plan=search.plan("mean"))).weights


async def test_a_query_for_an_item_that_is_not_there_is_its_own_error(search: Search) -> None:
    missing, good = await search(ById("nobody"), "a cat")
    assert isinstance(missing, NotFoundError)
    assert (missing.param, len(ids(good))) == ("queries[0]", 5)


async def test_wrong_queries_and_broken_images_do_not_fail_their_neighbours(search: Search) -> None:
    answers = await search(InvalidTextError("Empty."), Image.of(b"no image"), picture(), "words")
    assert [type(each) for each in answers] == [InvalidTextError, InvalidImageError, Answer, Answer]


async def test_a_mix_lies_between_its_parts_and_may_lead_away_from_one(search: Search) -> None:
    parts = (Part("a cat", 1.0, "x"), Part(picture(), 1.0, "y"), Part(ById("i003"), -0.5, "z"))
    answer = await search.one(parts)
    assert "i003" not in ids(answer)
    alone = {part.param: await search.one((replace(part, weight=1.0),)) for part in parts}
    total = sum(abs(part.weight) for part in parts)
    expected = sum(abs(part.weight) / total * alone[part.param].weights["small"] for part in parts)
    assert answer.weights["small"] == pytest.approx(expected, abs=1e-5)


class TestCascade:
    async def test_a_sure_prefix_answers_alone(self, search: Search) -> None:
        answer = await search.one("a cat", plan=search.plan("cascade", min_confidence=0.0))
        assert (answer.exit_reason, answer.stages, answer.calls) == ("confident", 1, ("small",))
        assert answer.gflops < answer.gflops_full
        assert ids(answer) == ids(await search.one("a cat", plan=search.plan("single", ("small",))))
        assert search.store.searches[0] == ("prefix", 1, CANDIDATES)

    async def test_an_unsure_query_gets_the_full_committees_answer(self, search: Search) -> None:
        answer = await search.one("a cat", plan=search.plan("cascade", min_confidence=1.0))
        full = await search.one("a cat")
        assert (answer.exit_reason, answer.stages) == ("escalated", 2)
        assert [(hit.about.id, hit.score) for hit in answer.hits] == [(hit.about.id, hit.score) for hit in full.hits]
        assert answer.weights == full.weights
        assert sorted(answer.calls) == ["large", "small"]
        assert answer.gflops == pytest.approx(answer.gflops_full)

    async def test_only_the_unsure_queries_of_a_call_escalate(self, search: Search, fake_engine: FakeEngine) -> None:
        words = [f"word {n}" for n in range(12)]
        first = await search(*words, plan=search.plan("cascade", min_confidence=0.0))
        sure = [each.confidence for each in first if isinstance(each, Answer)]
        middle = float(np.median([each for each in sure if each is not None]))
        fake_engine.calls.clear()
        answers = await search(*words, plan=search.plan("cascade", min_confidence=middle))
        reasons = [each.exit_reason for each in answers if isinstance(each, Answer)]
        assert {"confident", "escalated"} == set(reasons)
        assert fake_engine.calls == [("large_text", reasons.count("escalated"))]

    async def test_the_shipped_threshold_is_of_the_kind_of_query(self, search: Search) -> None:
        plan = search.plan("cascade")
        assert plan.is_enough(0.3, ["text"])
        assert not plan.is_enough(0.3, ["image"])
        assert not plan.is_enough(0.3, ["text", "image"])

    async def test_what_is_embedded_already_is_everybodys_at_once(self, search: Search) -> None:
        answer = await search.one(ById("i007"), plan=search.plan("cascade", min_confidence=0.0))
        assert (answer.exit_reason, answer.stages, answer.confidence, answer.gflops) == ("full", 1, None, 0)

    async def test_a_prefix_that_fails_leaves_the_question_to_the_others(
        self, search: Search, fake_engine: FakeEngine
    ) -> None:
        fake_engine.faults.failing = {"small_text"}
        answer = await search.one("a cat", plan=search.plan("cascade", min_confidence=0.0))
        assert (answer.exit_reason, answer.failed, answer.weights) == ("degraded", ("small",), {"large": 1.0})

    async def test_when_the_second_stage_fails_the_first_answer_stands_and_says_so(
        self, search: Search, fake_engine: FakeEngine
    ) -> None:
        plan = search.plan("cascade", min_confidence=1.0)
        search.store.fault, search.store.fault_at = UnavailableError("Away."), 2
        answer = await search.one("a cat", plan=plan)
        assert (answer.exit_reason, answer.stages, list(answer.weights)) == ("degraded", 1, ["small"])
        assert len(fake_engine.calls) == 2
        # What was embedded in vain has been worked for all the same.
        assert answer.calls == ("small", "large")
        assert answer.gflops == pytest.approx(answer.gflops_full)

    async def test_it_needs_thresholds_of_its_own_prefix(self, plain: Search, search: Search) -> None:
        with pytest.raises(ConflictError, match=r"No thresholds are shipped .* small"):
            plain.plan("cascade")
        search.spec = spec_of(search.zoo, prefix=("large",))
        with pytest.raises(ConflictError, match=r"No thresholds are shipped .* large"):
            search.plan("cascade")
        assert search.plan("cascade", min_confidence=0.5).threshold == 0.5


async def test_a_backbone_that_fails_is_left_out_and_named(search: Search, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"large_text"}
    answer = await search.one("a cat")
    assert (answer.exit_reason, answer.failed, answer.weights) == ("degraded", ("large",), {"small": 1.0})


async def test_nobody_answering_is_the_querys_error(search: Search, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"small_text", "large_text"}
    words, image = await search("a cat", picture())
    assert isinstance(words, BackboneFailedError)
    assert isinstance(image, Answer)


async def test_two_queries_for_the_same_thing_pay_once(search: Search, fake_engine: FakeEngine) -> None:
    first, second = await search("a cat", "a cat")
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.gflops > 0, second.gflops) == (True, 0)
    assert ids(first) == ids(second)
    assert sorted(fake_engine.calls) == [("large_text", 1), ("small_text", 1)]


async def test_queries_of_one_call_are_searched_together(search: Search) -> None:
    await search("a cat", "a dog", picture(), ById("i001"))
    assert search.store.searches == [("committee", 4, 6)]


async def test_an_empty_gallery_has_no_hits_and_no_confidence(search: Search) -> None:
    search.store.contents.clear()
    answer = await search.one("a cat", plan=search.plan("cascade", min_confidence=0.0))
    assert (answer.hits, answer.confidence) == ((), 0)


def test_nlc_without_controllers_is_a_conflict_that_names_the_way_out(plain: Search) -> None:
    with pytest.raises(ConflictError, match=r"ships no controllers for searches\. Use the policy mean"):
        plain.plan("nlc")


def test_a_backbone_that_the_gallery_does_not_hold_is_named(search: Search) -> None:
    with pytest.raises(UnknownBackboneError, match='no embeddings of "huge"'):
        search.plan("mean", ("huge",))


def test_a_subset_is_weighed_without_the_others(search: Search) -> None:
    plan: Callable[..., SearchPlan] = search.plan
    assert [each.name for each in plan("nlc", ("large",)).asked] == ["large"]
