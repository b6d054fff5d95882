"""`POST /v1/classify` and its Hugging Face alias: parse, admit, ask the pipeline, shape the answer."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.bodies import read_classify_call
from service.api.context import RequestContext
from service.api.errors import error_body
from service.api.guard import GuardedRoute, take_images
from service.api.label_sets import find_label_set
from service.api.openapi import classify_body
from service.api.schemas import (
    ClassifyFields,
    ClassifyResponse,
    ItemError,
    PredictionOut,
    PromiseOut,
    ResultOut,
    UsageOut,
    VoteOut,
)
from service.api.services import ContextDep, Services, ServicesDep
from service.deadline import Deadline
from service.errors import InvalidRequestError, QuorumError
from service.pipeline.classify import ClassifyQuery
from service.pipeline.labels import LabelSet, make_label_set
from service.pipeline.planner import Wish
from service.pipeline.walk import Decision
from service.stores.base import StoredLabelSet

router = APIRouter(tags=["classify"], route_class=GuardedRoute)


@router.post("/v1/classify", response_model=ClassifyResponse, openapi_extra=classify_body())
async def classify(request: Request, services: ServicesDep, context: ContextDep) -> Response:
    """Zero-shot classification of one or many images. Raw image bytes take the other fields as query parameters."""
    with context.timings.measure("read"):
        call = await read_classify_call(request, services.settings)
    await take_images(call.images, context, services)
    deadline = deadline_of(call.fields.deadline_ms, services, context)
    stored = await _stored(call.fields, services, deadline)
    label_set = stored.label_set if stored else _own_label_set(call.fields, services)
    plan = await services.planner.plan(wish_of(call.fields), stored, deadline)
    query = ClassifyQuery(call.images, label_set, plan, deadline)
    results = await services.classifier.classify(query, context.timings)
    services.shadow.offer(query, results)
    raise_if_alone(results, "images")
    with context.timings.measure("shape"):
        answer = _answer(results, call.fields, services, context)
        return Response(answer.model_dump_json(), media_type="application/json")


def deadline_of(asked_ms: int | None, services: Services, context: RequestContext) -> Deadline:
    """In `asked_ms`, else in the default time. Raises `InvalidRequestError` for one beyond the limit."""
    settings = services.settings
    deadline_ms = asked_ms or settings.default_deadline_ms
    if deadline_ms > settings.max_deadline_ms:
        raise InvalidRequestError(
            f"deadline_ms is {deadline_ms:,}, the limit is {settings.max_deadline_ms:,}.", param="deadline_ms"
        )
    return context.deadline(deadline_ms)


def wish_of(fields: ClassifyFields) -> Wish:
    """How the caller wants to be answered."""
    return Wish(
        policy=fields.policy,
        backbones=None if fields.backbones is None else tuple(fields.backbones),
        max_gflops=fields.max_gflops,
        min_confidence=fields.min_confidence,
    )


def raise_if_alone(results: Sequence[object], place: str) -> None:
    """The error of what was sent alone is the call's, blamed on `place`[0] unless it says better. So is an error that
    all share and that none of them is to blame for."""
    errors = [result for result in results if isinstance(result, QuorumError)]
    alone = len(results) == 1
    if len(errors) == len(results) and (alone or all(error.status >= 500 for error in errors)):
        first = errors[0]
        raise first.with_param(first.param or f"{place}[0]") if alone and first.status < 500 else first


async def _stored(fields: ClassifyFields, services: Services, deadline: Deadline) -> StoredLabelSet | None:
    if fields.label_set is None:
        return None
    return await find_label_set(fields.label_set, services, deadline, param="label_set")


def _own_label_set(fields: ClassifyFields, services: Services) -> LabelSet:
    return make_label_set(fields.labels or (), fields.templates, services.label_limits)


def _answer(
    results: Sequence[Decision | QuorumError], fields: ClassifyFields, services: Services, context: RequestContext
) -> ClassifyResponse:
    _count(results, services)
    return ClassifyResponse(
        id=f"cls_{secrets.token_hex(12)}",
        model="committee" if fields.policy != "single" else str((fields.backbones or [""])[0]),
        label_set=fields.label_set,
        results=[_item(index, result, fields, services, context) for index, result in enumerate(results)],
        usage=_usage(results, services),
    )


def _count(results: Sequence[Decision | QuorumError], services: Services) -> None:
    for result in results:
        if isinstance(result, QuorumError):
            services.metrics.requests.error(result.code)
            continue
        services.metrics.answers.image_classified(result.exit_reason, result.gflops)
        for vote in result.votes:
            services.metrics.answers.voted(vote.backbone.name, vote.weight)
        if result.policy == "cascade":
            saved = result.gflops_spared if result.exit_reason == "confident" else 0.0
            services.metrics.cascades.left(result.stages, saved)


def _item(
    index: int,
    result: Decision | QuorumError,
    fields: ClassifyFields,
    services: Services,
    context: RequestContext,
) -> ResultOut | ItemError:
    if isinstance(result, QuorumError):
        return ItemError(index=index, error=error_body(result.with_param(f"images[{index}]"), context.request_id))
    return ResultOut(
        index=index,
        predictions=[
            PredictionOut(label=each.label, probability=each.probability, cosine=each.cosine)
            for each in result.predictions(fields.top_k)
        ],
        confidence=result.confidence,
        exit_score=result.exit_score,
        policy=result.policy,
        controller=result.controller,
        exit_reason=result.exit_reason,
        promise=result.promise and PromiseOut(epsilon=result.promise.epsilon, delta=result.promise.delta),
        stages=result.stages,
        backbones=_votes(result) if fields.explain else None,
        gflops=result.gflops,
        gflops_full=services.zoo.committee.gflops,
        degraded=result.degraded,
        failed=list(result.failed),
    )


def _votes(decision: Decision) -> dict[str, VoteOut]:
    votes = {}
    for vote in decision.votes:
        top = vote.top(decision.label_set)
        votes[vote.backbone.name] = VoteOut(
            weight=vote.weight, top_label=top.label, probability=top.probability, cached=vote.cached
        )
    return votes


def _usage(results: Sequence[Decision | QuorumError], services: Services) -> UsageOut:
    decisions = [result for result in results if isinstance(result, Decision)]
    calls = Counter(vote.backbone.name for decision in decisions for vote in decision.votes if not vote.cached)
    return UsageOut(
        images=len(results),
        backbone_calls=dict(calls),
        gflops=sum(decision.gflops for decision in decisions),
        gflops_full=services.zoo.committee.gflops * len(decisions),
    )
