"""What this server is made of: the zoo's backbones, the committee, limits, versions."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter

from service.api.guard import GuardedRoute
from service.api.model_schemas import (
    BackboneOut,
    CommitteeOut,
    GenericOut,
    GenericSourceOut,
    InfoOut,
    JudgedControllerOut,
    ModelDigests,
    ModelList,
    RetrievalOut,
)
from service.api.services import ServicesDep
from service.errors import NotFoundError
from service.pipeline.shipped.generic import ShippedGeneric
from service.pipeline.shipped.retrieval import ShippedRetrieval
from service.policies import FALLBACK_POLICY, Policy
from service.repository import Backbone, Zoo

COMMITTEE = "committee"
LIMITS = (
    "max_body_bytes",
    "max_image_bytes",
    "max_image_pixels",
    "max_images",
    "max_labels",
    "max_prompts",
    "max_label_characters",
    "max_texts",
    "max_text_characters",
    "max_queries",
    "max_top_k",
    "max_hits",
    "max_items",
    "max_gallery_fields",
    "max_field_characters",
    "default_deadline_ms",
    "max_deadline_ms",
    "max_inflight_requests",
    "max_job_images",
    "max_job_body_bytes",
)

router = APIRouter(tags=["models"], route_class=GuardedRoute)


@router.get("/v1/models")
async def list_models(services: ServicesDep) -> ModelList:
    """Every backbone, cheapest first, and the committee: those that vote where a request names none."""
    zoo = services.zoo
    return ModelList(data=[*[_backbone(backbone) for backbone in zoo.backbones], _committee(zoo.committee)])


@router.get("/v1/models/{model_id}")
async def get_model(model_id: str, services: ServicesDep) -> BackboneOut | CommitteeOut:
    if model_id == COMMITTEE:
        return _committee(services.zoo.committee)
    for backbone in services.zoo.backbones:
        if backbone.name == model_id:
            return _backbone(backbone)
    known = ", ".join([*services.zoo.names, COMMITTEE])
    raise NotFoundError(f'There is no model "{model_id}". This server has: {known}.', param="model_id")


@router.get("/info")
async def info(services: ServicesDep) -> InfoOut:
    settings = services.settings
    return InfoOut(
        versions=services.versions,
        engine=settings.engine,
        zoo_digest=services.zoo.digest,
        backbones={backbone.name: _digests(backbone) for backbone in services.zoo.backbones},
        policies=list(get_args(Policy)),
        default_policy=FALLBACK_POLICY if services.generic is None else "nlc",
        generic_controller=services.shipped and _generic(services.shipped),
        retrieval_controllers=services.retrieval and _retrieval(services.retrieval),
        limits={name: getattr(settings, name) for name in LIMITS},
        problems=services.problems(),
    )


def _backbone(backbone: Backbone) -> BackboneOut:
    return BackboneOut(
        id=backbone.name,
        family=backbone.family,
        embedding_dim=backbone.embedding_dim,
        gflops=backbone.gflops,
        image_size=backbone.preprocessing.image_size,
        logit_scale=backbone.logit_scale,
        temperature=backbone.temperature,
        votes=backbone.votes,
        digests=_digests(backbone),
        provenance=backbone.image.config.provenance,
    )


def _committee(members: Zoo) -> CommitteeOut:
    return CommitteeOut(
        backbones=list(members.names),
        embedding_dim=members.embedding_dim,
        gflops=members.gflops,
        digest=members.digest,
    )


def _generic(shipped: ShippedGeneric) -> GenericOut:
    about = shipped.file.about
    return GenericOut(
        name=shipped.name,
        applies=shipped.reason is None,
        reason=shipped.reason,
        accuracy_gain=about.accuracy_gain,
        loss_gain=about.loss_gain,
        seed=about.seed,
        sources=[
            GenericSourceOut(
                name=source.name,
                images=source.images,
                classes=source.classes,
                accuracy=source.accuracy,
                mean_accuracy=source.mean_accuracy,
                loss=source.loss,
                mean_loss=source.mean_loss,
            )
            for source in about.sources
        ],
    )


def _retrieval(shipped: ShippedRetrieval) -> RetrievalOut:
    file = shipped.file
    return RetrievalOut(
        name=shipped.name,
        applies=shipped.reason is None,
        reason=shipped.reason,
        backbones=list(file.backbones),
        prefix=list(file.prefix),
        thresholds=dict(file.thresholds),
        sources=[source.name for source in file.about.sources],
        controllers={
            kind: JudgedControllerOut(
                examples=each.examples,
                candidates=each.candidates,
                accuracy=each.accuracy,
                mean_accuracy=each.mean_accuracy,
                best=each.best,
                best_accuracy=each.best_accuracy,
            )
            for kind, each in file.about.controllers.items()
        },
    )


def _digests(backbone: Backbone) -> ModelDigests:
    return ModelDigests(image=backbone.image.digest, text=backbone.text.digest)
