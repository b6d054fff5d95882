"""`POST /v1/galleries/{name}/search`: many queries at once, each with its hits or its error."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from service.api.classify import deadline_of, raise_if_alone
from service.api.context import RequestContext
from service.api.errors import error_body
from service.api.galleries import find_gallery
from service.api.gallery_bodies import read_queries
from service.api.gallery_schemas import HitOut, SearchFailure, SearchRequest, SearchResponse, SearchResult, SearchUsage
from service.api.guard import GuardedRoute, take_images
from service.api.label_sets import Name
from service.api.services import ContextDep, Services, ServicesDep
from service.errors import InvalidRequestError, PayloadTooLargeError, QuorumError
from service.galleries.filters import compile_filter
from service.pipeline.retrieval.galleries import members_served
from service.pipeline.retrieval.plan import SearchWish, plan_search
from service.pipeline.retrieval.search import Answer, SearchCall

router = APIRouter(prefix="/v1/galleries", tags=["galleries"], route_class=GuardedRoute)

MAX_EXPLAINED: Final = 4_096
"""Hits of a call whose embeddings are fetched to say what each backbone thinks: some 20 MB with a wide committee."""


@router.post("/{name}/search", response_model=SearchResponse)
async def search(name: Name, body: SearchRequest, services: ServicesDep, context: ContextDep) -> Response:
    """Find the nearest items of each query: a text, an image, an item's id, an embedding, or a weighted mix of them."""
    deadline = deadline_of(body.deadline_ms, services, context)
    _check_size(body, services)
    spec = await find_gallery(name, services.galleries, deadline)
    members = members_served(spec, services.zoo)
    where = None if not body.filter else compile_filter(body.filter, spec.fields)
    asked = None if body.backbones is None else tuple(body.backbones)
    plan = plan_search(SearchWish(body.policy, asked, body.min_confidence), spec, members, services.retrieval)
    with context.timings.measure("read"):
        queries = await asyncio.to_thread(read_queries, body, spec, services.settings)
    parts = (part.thing for query in queries if not isinstance(query, QuorumError) for part in query)
    await take_images(parts, context, services)
    call = SearchCall(spec, plan, queries, body.top_k, where, body.explain, deadline)
    answers = await services.searcher.search(call, context.timings)
    raise_if_alone(answers, "queries")
    _count(answers, services)
    with context.timings.measure("shape"):
        shaped = await asyncio.to_thread(_json, spec.name, answers, body, context)
    return Response(shaped, media_type="application/json")


def _check_size(body: SearchRequest, services: Services) -> None:
    limit = services.settings.max_top_k
    if body.top_k > limit:
        raise InvalidRequestError(f"top_k is {body.top_k:,}, the limit is {limit:,}.", param="top_k")
    hits = body.top_k * len(body.queries)
    if hits > services.settings.max_hits:
        raise PayloadTooLargeError(
            f"{len(body.queries)} queries of {body.top_k:,} hits are {hits:,} hits, the limit is "
            f"{services.settings.max_hits:,}. Send fewer queries or a smaller top_k.",
            param="top_k",
        )
    if body.explain and hits > MAX_EXPLAINED:
        raise PayloadTooLargeError(
            f"explain is for at most {MAX_EXPLAINED:,} hits in one call. Send fewer queries or a smaller top_k.",
            param="explain",
        )


def _count(answers: Sequence[Answer | QuorumError], services: Services) -> None:
    for each in answers:
        if isinstance(each, QuorumError):
            services.metrics.requests.error(each.code)
        else:
            services.metrics.answers.query_answered(each.policy, each.exit_reason, each.gflops)


def _json(gallery: str, answers: Sequence[Answer | QuorumError], body: SearchRequest, context: RequestContext) -> str:
    """In a thread: thousands of hits take a good part of a second to write down."""
    found = [each for each in answers if isinstance(each, Answer)]
    usage = SearchUsage(
        queries=len(answers),
        backbone_calls=dict(Counter(name for each in found for name in each.calls)),
        gflops=sum(each.gflops for each in found),
        gflops_full=sum(each.gflops_full for each in found),
    )
    results = [_result(index, each, body, context) for index, each in enumerate(answers)]
    return SearchResponse(gallery=gallery, results=results, usage=usage).model_dump_json()


def _result(
    index: int, answer: Answer | QuorumError, body: SearchRequest, context: RequestContext
) -> SearchResult | SearchFailure:
    if isinstance(answer, QuorumError):
        blamed = answer.with_param(answer.param or f"queries[{index}]")
        return SearchFailure(index=index, error=error_body(blamed, context.request_id))
    return SearchResult(
        index=index,
        hits=[
            HitOut(
                id=hit.about.id,
                score=hit.score,
                fields=dict(hit.about.fields),
                scores=None if hit.scores is None else dict(hit.scores),
            )
            for hit in answer.hits
        ],
        policy=answer.policy,
        controller=answer.controller,
        confidence=answer.confidence,
        exit_reason=answer.exit_reason,
        stages=answer.stages,
        backbones=list(answer.weights),
        weights=dict(answer.weights) if body.explain else None,
        gflops=answer.gflops,
        gflops_full=answer.gflops_full,
        degraded=answer.exit_reason == "degraded",
        failed=list(answer.failed),
    )
