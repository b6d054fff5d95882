"""What the composition root hands to the API: everything a handler may use, by its Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from service.api.admission import Admission
from service.api.context import RequestContext, context_of
from service.engines.base import Engine
from service.galleries.base import GalleryStore
from service.jobs.runner import JobRunner
from service.keys_file import KeysFile
from service.liveness import Watched
from service.observability.metrics.registry import Metrics
from service.pipeline.classify import Classifier
from service.pipeline.embeddings import CommitteeEmbedder
from service.pipeline.evidence import Gatherer
from service.pipeline.fitted import FittedArtefacts
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelLimits
from service.pipeline.planner import FittedController, Planner
from service.pipeline.retrieval.ingest import Ingester
from service.pipeline.retrieval.search import Searcher
from service.pipeline.shadow_checks import ShadowChecks
from service.pipeline.shipped.generic import ShippedGeneric
from service.pipeline.shipped.retrieval import ShippedRetrieval
from service.repository import Zoo
from service.settings import Settings
from service.stores.base import ArtefactStore, JobStore, LabelSetStore, RateLimits


@dataclass(slots=True)
class Services:
    """`shipped` is the repository's generic controller, `retrieval` what it ships for galleries, also where they do not
    apply; None: it ships none. `keys` None: callers need no key. `watched` is what may break besides engine and runner.
    """

    settings: Settings
    keys: KeysFile | None
    rate_limits: RateLimits
    zoo: Zoo
    shipped: ShippedGeneric | None
    retrieval: ShippedRetrieval | None
    engine: Engine
    label_sets: LabelSetStore
    artefacts: ArtefactStore
    jobs: JobStore
    runner: JobRunner
    matrices: LabelMatrices
    fitted: FittedArtefacts
    gatherer: Gatherer
    planner: Planner
    classifier: Classifier
    embeddings: CommitteeEmbedder
    galleries: GalleryStore
    ingester: Ingester
    searcher: Searcher
    shadow: ShadowChecks
    admission: Admission
    metrics: Metrics
    watched: Sequence[Watched]
    versions: dict[str, str]
    ready: bool = field(default=False)

    def problems(self) -> list[str]:
        """What is broken for good in this process, one sentence each. Empty means healthy."""
        watched: list[Watched] = [self.engine, self.runner, *self.watched]
        return [problem for each in watched for problem in each.problems()]

    @property
    def generic(self) -> FittedController | None:
        """Who speaks for labels without a controller of their own; None: the plain mean."""
        return None if self.shipped is None else self.shipped.controller

    @property
    def label_limits(self) -> LabelLimits:
        settings = self.settings
        return LabelLimits(settings.max_labels, settings.max_prompts, settings.max_label_characters)


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _context(request: Request) -> RequestContext:
    return context_of(request)


ServicesDep = Annotated[Services, Depends(_services)]
ContextDep = Annotated[RequestContext, Depends(_context)]
