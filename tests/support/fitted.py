"""Controllers and cascades that were never fitted: what they do is written in the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from service.pipeline.artefacts import pack_cascade, pack_controller
from service.pipeline.cascade.cascade import NO_LIMITS, Cascade, Limits
from service.pipeline.committee import Voice
from service.pipeline.controller.controller import Controller, static_controller
from service.pipeline.plan import CascadeId, Plan, Promise
from service.repository import Backbone, Zoo, load_zoo
from service.stores.base import ArtefactContent, ArtefactVersion
from tests.support.repository import Spec, write_repository
from tests.support.state import PETS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROMISE = Promise(0.02, 0.1)
PETS_1 = CascadeId("pets", 1, NOW)
TRIO = (
    Spec("tiny", image_size=32, embedding_dim=6, gflops=0.25),
    Spec("middle", image_size=32, gflops=0.5),
    Spec("huge", image_size=48, embedding_dim=12, gflops=2.0),
)
"""Three backbones of two geometries."""


def trio(folder: Path) -> Zoo:
    return load_zoo(write_repository(folder, TRIO))


def constant(backbones: Sequence[Backbone], *weights: float) -> Controller:
    """The same weights for every image."""
    t = np.log(np.expm1(np.array(weights))) - np.log(np.expm1(1.0))
    names, widths = [each.name for each in backbones], [each.embedding_dim for each in backbones]
    return static_controller(names, widths, t.astype(np.float32))


def reading(backbones: Sequence[Backbone], seed: int = 0) -> Controller:
    """Weights that depend on the image."""
    rng = np.random.default_rng(seed)
    names, widths = tuple(each.name for each in backbones), tuple(each.embedding_dim for each in backbones)
    w1 = rng.standard_normal((16, sum(widths))).astype(np.float32)
    w2 = rng.standard_normal((len(names), 16)).astype(np.float32)
    return Controller(names, widths, w1, np.zeros(16, np.float32), w2, np.zeros(len(names), np.float32))


def in_order(backbones: Sequence[Backbone], *thresholds: float, exit_score: Any = "probability") -> Cascade:
    """Each backbone is a stage, in the order given; without thresholds all are one."""
    costs = tuple(backbone.gflops for backbone in backbones)
    members = range(len(costs))
    stages = tuple((member,) for member in members) if thresholds else (tuple(members),)
    temperatures = tuple(1.0 + 0.25 * number for number in range(len(stages)))
    return Cascade(costs, exit_score, stages, thresholds, temperatures)


def cascade_plan(
    backbones: tuple[Backbone, ...],
    *thresholds: float,
    limits: Limits = NO_LIMITS,
    controller: Controller | None = None,
    calibrated: CascadeId = PETS_1,
) -> Plan:
    """As the planner makes them for a calibrated cascade."""
    voice: Voice = "mean" if controller is None else controller
    name = None if controller is None else "pets/3"
    cascade = in_order(backbones, *thresholds)
    return Plan("cascade", backbones, voice, cascade, name, limits, PROMISE, calibrated)


def controller_content(zoo: Zoo, *weights: float, digests: Sequence[str] = ()) -> ArtefactContent:
    controller = constant(zoo.backbones, *weights)
    return pack_controller(controller, zoo.backbones, digests, {"rung": "static"})


def cascade_content(
    zoo: Zoo, *thresholds: float, controller: str | None = None, promise: Promise = PROMISE
) -> ArtefactContent:
    cascade = in_order(zoo.backbones, *thresholds)
    return pack_cascade(cascade, zoo.backbones, controller, promise, {"epsilon": promise.epsilon})


def damaged(content: ArtefactContent) -> ArtefactContent:
    return ArtefactContent(content.tensors[:-3] + b"\xff\xff", content.metadata)


def about(metadata: Mapping[str, Any], **changes: Any) -> ArtefactVersion:
    """A version that was never stored."""
    return replace(ArtefactVersion("pets", "controller", 1, PETS.digest, metadata, NOW, active=True), **changes)
