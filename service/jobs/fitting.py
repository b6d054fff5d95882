"""What the two kinds of job do: fit a controller, calibrate a cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from service.errors import QuorumError
from service.jobs.control import JobControl, Outcome, Work
from service.pipeline.artefacts import pack_cascade, pack_controller
from service.pipeline.cascade.calibration import CalibrationSample, calibrate
from service.pipeline.cascade.cascade import NEVER, Cascade
from service.pipeline.cascade.choice import CalibrationRequest
from service.pipeline.cascade.report import Calibrated
from service.pipeline.committee import Voice, combine
from service.pipeline.controller.controller import Generic
from service.pipeline.controller.examples import make_examples
from service.pipeline.controller.ladder import climb
from service.pipeline.embed import Image
from service.pipeline.evidence import Evidence, Gatherer
from service.pipeline.labels import LabelSet
from service.pipeline.logits import Floats
from service.pipeline.plan import Promise
from service.pipeline.planner import FittedController

EMBEDDING_SHARE: Final = 0.5
"""Of a job's progress; the rest is fitting."""

Images = Sequence[Image | QuorumError]


@dataclass(frozen=True, slots=True)
class ControllerJob:
    """The fit starts at `generic`, and has to beat it; None: at the logit mean."""

    label_set: LabelSet
    images: Images
    truth: Sequence[int]
    seed: int
    generic: Generic | None = None


@dataclass(frozen=True, slots=True)
class CascadeJob:
    """`controller` speaks in the cascade (None: the plain mean); images whose digests are in `fitted` are left out."""

    label_set: LabelSet
    images: Images
    truth: Sequence[int] | None
    epsilon: float
    delta: float
    controller: FittedController | None
    fitted: frozenset[str]


def controller_work(gatherer: Gatherer, job: ControllerJob) -> Work:
    """A controller for a label set, where it beats what answers without one."""

    def work(control: JobControl) -> Outcome:
        evidence = _gather(gatherer, job.label_set, job.images, control)
        truth = np.array([job.truth[row] for row in evidence.rows], dtype=np.int64)
        examples = make_examples(evidence.names, evidence.embeddings, evidence.logits, truth, evidence.digests)
        climbed = climb(examples, job.seed, job.generic, lambda share: control.progress(_second_half(share)))
        result = asdict(climbed.report) | {"accepted": climbed.controller is not None, "skipped": _skipped(evidence)}
        if climbed.controller is None:
            return Outcome(result)
        return Outcome(
            result, pack_controller(climbed.controller, evidence.backbones, examples.digests, asdict(climbed.report))
        )

    return work


def cascade_work(gatherer: Gatherer, job: CascadeJob) -> Work:
    """A cascade for a label set under its controller; with too few images one in which nobody leaves early."""

    def work(control: JobControl) -> Outcome:
        evidence = _gather(gatherer, job.label_set, job.images, control)
        voice: Voice = "mean" if job.controller is None else job.controller.controller
        labels = None
        if job.truth is not None:
            labels = np.array([job.truth[row] for row in evidence.rows], dtype=np.int64)
        sample = CalibrationSample(evidence.digests, labels, job.fitted)
        gflops = [backbone.gflops for backbone in evidence.backbones]
        request = CalibrationRequest(job.epsilon, job.delta)
        control.check()
        calibrated = calibrate(lambda members: answer(evidence, voice, members), gflops, sample, request)
        about = told(calibrated, evidence.names)
        name = None if job.controller is None else job.controller.name
        content = pack_cascade(calibrated.cascade, evidence.backbones, name, Promise(job.epsilon, job.delta), about)
        return Outcome(about | {"controller": name, "skipped": _skipped(evidence)}, content)

    return work


def told(calibrated: Calibrated, names: Sequence[str]) -> dict[str, Any]:
    """A calibration's report, and the stages that came of it, with backbones by name and no infinite number.

    Where a router picks for each image whom to ask, no backbones are named behind the first stage, and temperatures,
    which depend on who has answered, are null.
    """
    about = asdict(calibrated.report)
    if about["chosen"] is not None:
        best = about["chosen"]["best_fixed"]
        about["chosen"]["best_fixed"] = {"backbone": names[best.pop("member")], **best}
    return about | {"backbones": list(names), "stages": _stages(calibrated.cascade, names)}


def _stages(cascade: Cascade, names: Sequence[str]) -> list[dict[str, Any]]:
    thresholds = [*(value if value < NEVER else None for value in cascade.thresholds), None]
    if cascade.router is not None:
        backbones = [[names[cascade.router.first]], *[[]] * (len(cascade.stages) - 1)]
        temperatures: Sequence[float | None] = [None] * len(cascade.stages)
    else:
        backbones = [[names[member] for member in stage] for stage in cascade.stages]
        temperatures = cascade.temperatures
    return [
        {"backbones": asked, "threshold": threshold, "temperature": temperature}
        for asked, threshold, temperature in zip(backbones, thresholds, temperatures, strict=True)
    ]


def answer(evidence: Evidence, voice: Voice, members: Sequence[int]) -> Floats:
    """What the backbones at positions `members` say together: logits `float32[n, c]`."""
    names = [evidence.names[member] for member in members]
    embeddings = [evidence.embeddings[member] for member in members]
    return combine(voice, names, embeddings, evidence.logits[list(members)]).logits


def _gather(gatherer: Gatherer, label_set: LabelSet, images: Images, control: JobControl) -> Evidence:
    def progress(share: float) -> None:
        control.progress(EMBEDDING_SHARE * share)

    return control.wait_for(gatherer.gather(images, label_set, control.deadline, progress))


def _second_half(share: float) -> float:
    return EMBEDDING_SHARE + (1 - EMBEDDING_SHARE) * share


def _skipped(evidence: Evidence) -> list[Mapping[str, Any]]:
    """Images that could not be read, and why."""
    skipped = sorted(evidence.skipped.items())
    return [{"index": row, "message": error.message, "code": error.code} for row, error in skipped]
