"""How a search is to be answered: the wish of a call beside what the gallery and the repository offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.errors import ConflictError, UnknownBackboneError
from service.galleries.base import GallerySpec
from service.pipeline.controller.controller import weigh
from service.pipeline.logits import Floats
from service.pipeline.retrieval.query_vectors import Voices
from service.pipeline.shipped.retrieval import ShippedRetrieval
from service.policies import Modality, QueryKind, SearchPolicy
from service.repository import Backbone

KINDS: Final[dict[Modality, QueryKind]] = {"image": "image", "text": "text"}
"""Who weighs what; an embedding of unknown modality is weighed by nobody."""


@dataclass(frozen=True, slots=True)
class SearchWish:
    policy: SearchPolicy | None
    backbones: tuple[str, ...] | None
    min_confidence: float | None


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """`asked` in the gallery's order. `controller` weighs them; None: all alike. Under `cascade` those of `first`
    search before the others are asked, and a `threshold` replaces the shipped ones."""

    policy: SearchPolicy
    asked: tuple[Backbone, ...]
    controller: ShippedRetrieval | None
    first: tuple[Backbone, ...] = ()
    threshold: float | None = None

    def voices(self, names: Sequence[str], embeddings: Sequence[Floats], modality: Modality) -> Voices:
        """What the backbones `names` (some of `asked`) make of one thing, each with its embedding `float32[d]`."""
        kind = KINDS.get(modality)
        opinions = np.ones(len(names), dtype=np.float32)
        if self.controller is not None and kind is not None:
            rows = [embedding[None] for embedding in embeddings]
            none = np.zeros((len(names), 1, 1), dtype=np.float32)
            opinions = weigh(self.controller.file.controllers[kind], names, rows, none)[:, 0]
        scales = {each.name: each.logit_scale / each.temperature for each in self.asked}
        return Voices(
            tuple(names), tuple(embeddings), opinions, np.array([scales[name] for name in names], dtype=np.float32)
        )

    def is_enough(self, confidence: float, modalities: Sequence[Modality]) -> bool:
        """Whether the first stage's answer stands. Of a mix the strictest part decides."""
        if self.threshold is not None:
            return confidence >= self.threshold
        if self.controller is None:
            return False
        thresholds = self.controller.file.thresholds
        kinds = {KINDS.get(each) for each in modalities}
        return confidence >= max((thresholds[kind] for kind in kinds if kind is not None), default=0.0)


def plan_search(
    wish: SearchWish, spec: GallerySpec, members: tuple[Backbone, ...], shipped: ShippedRetrieval | None
) -> SearchPlan:
    """`members` are the gallery's backbones. Raises `UnknownBackboneError` for one that it does not hold, and
    `ConflictError` for a policy that needs what the repository does not ship."""
    names = [member.name for member in members]
    for name in wish.backbones or ():
        if name not in names:
            raise UnknownBackboneError(
                f'The gallery holds no embeddings of "{name}". It was made with {", ".join(names)}.', param="backbones"
            )
    asked = tuple(each for each in members if wish.backbones is None or each.name in wish.backbones)
    fits = shipped is not None and shipped.speaks_for([each.name for each in asked])
    controller = shipped if fits else None
    policy = wish.policy or ("nlc" if controller else "mean")
    if policy == "cascade":
        return _cascade(wish, spec, asked, controller)
    if policy != "nlc":
        return SearchPlan(policy, asked, None)
    if controller is None:
        raise ConflictError(f"{_nobody_weighs(shipped)} Use the policy mean.", param="policy")
    return SearchPlan(policy, asked, controller)


def _cascade(
    wish: SearchWish, spec: GallerySpec, members: tuple[Backbone, ...], controller: ShippedRetrieval | None
) -> SearchPlan:
    first = tuple(each for each in members if each.name in spec.prefix)
    if first == members:  # nobody is left to escalate to
        return SearchPlan("cascade", members, controller)
    calibrated = controller is not None and set(controller.file.prefix) == set(spec.prefix)
    if wish.min_confidence is None and not calibrated:
        raise ConflictError(
            f"No thresholds are shipped for the prefix of this gallery, {', '.join(spec.prefix)}. Name one as "
            "min_confidence, or use the policy nlc or mean.",
            param="policy",
        )
    return SearchPlan("cascade", members, controller, first, wish.min_confidence)


def _nobody_weighs(shipped: ShippedRetrieval | None) -> str:
    if shipped is None:
        return "The model repository ships no controllers for searches."
    return shipped.reason or f"The shipped controllers weigh {', '.join(shipped.file.backbones)} alone."
