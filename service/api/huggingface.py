"""Hugging Face's zero-shot image classification call, for clients that already speak it."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.bodies import image_from_text
from service.api.classify import deadline_of
from service.api.guard import GuardedRoute, take_images
from service.api.schemas import HuggingFaceRequest, HuggingFaceScore
from service.api.services import ContextDep, ServicesDep
from service.errors import InvalidLabelsError, QuorumError
from service.pipeline.classify import ClassifyQuery
from service.pipeline.labels import make_label_set
from service.pipeline.planner import Wish

router = APIRouter(tags=["classify"], route_class=GuardedRoute)


@router.post("/zero-shot-image-classification")
async def zero_shot(call: HuggingFaceRequest, services: ServicesDep, context: ContextDep) -> list[HuggingFaceScore]:
    """The committee's probabilities in Hugging Face's shape, best label first."""
    labels = call.parameters.labels()
    try:
        label_set = make_label_set(labels, [call.parameters.hypothesis_template], services.label_limits)
    except InvalidLabelsError as error:
        raise error.with_param(_as_it_is_called_here(error.param or "")) from error
    image = image_from_text(call.inputs, "inputs")
    await take_images([image], context, services)
    deadline = deadline_of(None, services, context)
    plan = await services.planner.plan(Wish(), None, deadline)
    query = ClassifyQuery((image,), label_set, plan, deadline)
    (result,) = await services.classifier.classify(query, context.timings)
    if isinstance(result, QuorumError):
        raise result.with_param("inputs") if result.status < 500 else result
    services.metrics.answers.image_classified(result.exit_reason, result.gflops)
    for vote in result.votes:
        services.metrics.answers.voted(vote.backbone.name, vote.weight)
    return [HuggingFaceScore(label=each.label, score=each.probability) for each in result.predictions(len(labels))]


def _as_it_is_called_here(param: str) -> str:
    if param.startswith("templates"):
        return "parameters.hypothesis_template"
    return f"parameters.candidate_labels{param.removeprefix('labels')}"
