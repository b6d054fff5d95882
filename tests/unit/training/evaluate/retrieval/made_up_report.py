"""A report on made-up retrieval sets."""

from __future__ import annotations

import numpy as np

from service.pipeline.controller.controller import static_controller
from service.pipeline.shipped.files import CommitteeMember
from service.pipeline.shipped.retrieval_file import QUERY_KINDS, RetrievalAbout, RetrievalFile
from service.policies import QueryKind
from tests.support.retrieval import EXIT, JUDGED, SOURCE
from tests.unit.training.evaluate.retrieval.made_up import NAMES, WIDTHS, pairs
from training.evaluate.retrieval.measure import measure_set
from training.evaluate.retrieval.report import BackboneFacts, Realism, RetrievalReport, Shipped
from training.evaluate.retrieval.synthetic import Distractors

GFLOPS: dict[QueryKind, dict[str, float]] = {
    "text": {"cheap": 1.0, "good": 3.0, "bad": 6.0},
    "image": {"cheap": 0.5, "good": 2.0, "bad": 7.5},
}
HARD = (2.0, 1.0, 6.0)
"""Noise that leaves something to be found, and somebody to be unsure."""

ABOUT = RetrievalAbout(
    seed=0,
    committee=tuple(CommitteeMember(name, "ab" * 32, "cd" * 32, "32", 10.0, 1.0) for name in NAMES),
    sources=(SOURCE,),
    controllers={"text": JUDGED, "image": JUDGED},
    cascade={"text": EXIT, "image": EXIT},
)


def file(*, thresholds: tuple[float, float] = (0.5, 0.5), prefix: tuple[str, ...] = ("cheap", "good")) -> RetrievalFile:
    """Controllers that know that `bad` is worth little."""
    static = static_controller(NAMES, WIDTHS, np.array([0.5, 3.0, -3.0], np.float32))
    return RetrievalFile(
        dict.fromkeys(QUERY_KINDS, static), prefix, dict(zip(QUERY_KINDS, thresholds, strict=True)), ABOUT, "ef" * 32
    )


def report(shipped: RetrievalFile | None = None) -> RetrievalReport:
    """Two sets, and the first again in larger galleries."""
    shipped = shipped or file()
    made, other = pairs(60, 2, noise=HARD), pairs(20, 3, source="icons", seed=1, noise=HARD)
    pool = pairs(50, 2, seed=2)
    pools = {kind: pool.task(kind).items for kind in QUERY_KINDS}
    larger = Distractors("scenes", {"text": 300 - 60, "image": 300 - 120}, pools)
    return RetrievalReport(
        suite="retrieval",
        machine="made up",
        interval="95% bootstrap",
        backbones={name: BackboneFacts("resnet", 1.0, 2.0, 1.0, "ab" * 32, "cd" * 32) for name in NAMES},
        shipped=Shipped("retrieval@efefefefefef", shipped.digest, shipped.prefix, dict(shipped.thresholds), ABOUT),
        sets=(
            measure_set(made, shipped, GFLOPS),
            measure_set(other, shipped, GFLOPS),
            measure_set(made, shipped, GFLOPS, larger),
        ),
        realism=tuple(Realism(kind, "scenes", 50, 0.5, 0.25) for kind in QUERY_KINDS),
        folding_error=1.25e-7,
    )
