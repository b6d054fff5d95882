"""Units that nobody computed, for every design and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from training.adapters.settings import PRETRAINING, RESERVED
from training.evaluate.adapters.aims import CLAIMS, ENSEMBLES
from training.evaluate.adapters.grid import TUNING_SEED, UNIONS
from training.evaluate.adapters.grouping import grouped, rates_tried
from training.evaluate.adapters.plans import matched_label
from training.evaluate.adapters.report import AdaptersReport, SourceFacts
from training.evaluate.adapters.units import Result

SOURCES = (*PRETRAINING, *RESERVED)
SEARCHED = ("flickr8k", "openmoji")
FACTS = {source: SourceFacts(10, 50, 0) if source in SEARCHED else SourceFacts(10, 2, 2) for source in sorted(SOURCES)}
MACHINE = "a made-up machine"

Score = Callable[[str, int], float]
"""By design and seed, what every metric on every source is."""


def scores_of(value: float, sources: Iterable[str] = SOURCES) -> dict[str, dict[str, float]]:
    """All metrics of all sources, one value everywhere."""
    recalls = [f"{kind} R@{k}" for kind in ("text", "image") for k in (1, 5, 10)]
    names = {source: recalls + ([] if source in SEARCHED else ["top1", "balanced"]) for source in sources}
    return {source: dict.fromkeys(metrics, value) for source, metrics in names.items()}


def result(
    label: str,
    seed: int = 0,
    value: float = 0.5,
    *,
    fitted: str = "reserved",
    rate: float = 1e-2,
    calibrate: float = 1.0,
    epochs: int = 5,
    sources: Iterable[str] = SOURCES,
) -> Result:
    """One unit."""
    return Result(
        key=f"{label} {fitted} {seed} {rate} {epochs}",
        label=label,
        fitted=fitted,
        seed=seed,
        rate=rate,
        epochs=epochs,
        batch_size=256,
        design={},
        steps=0 if label == "zero-shot" else 75,
        loss=(2.0, 1.0),
        calibrate=calibrate,
        added={"vision": 1000, "language": 500},
        share=0.0 if label == "zero-shot" else 0.1,
        seconds=60.0,
        machine=MACHINE,
        scores={} if seed == TUNING_SEED else scores_of(value, sources),
    )


def everything(score: Score, seeds: int = 3) -> list[Result]:
    """Every design that a claim or an aim speaks of, on both training sets, with the rate that was chosen for it."""
    labels = dict.fromkeys(
        [name for claim in CLAIMS for name in (claim.one, claim.other)]
        + [name for ensemble in ENSEMBLES for name in (ensemble, matched_label(ensemble))]
    )
    found = []
    for fitted in UNIONS:
        for label in labels:
            if label == "zero-shot":
                found.append(result(label, 0, score(label, 0), fitted=fitted))
                continue
            found.append(result(label, TUNING_SEED, fitted=fitted))
            # The calibrate rows speak for MSA.
            loss = 0.9 if label == "msa" else 1.0
            found += [result(label, seed, score(label, seed), fitted=fitted, calibrate=loss) for seed in range(seeds)]
    return found


def report_of(results: Sequence[Result]) -> AdaptersReport:
    """The report that such units give."""
    return AdaptersReport(
        suite="adapters",
        backbone="vit-s",
        pack="0" * 64,
        machines={MACHINE: len(results)} if results else {},
        sources=FACTS,
        paper_share=0.013,
        groups=grouped(results),
        tried=rates_tried(results),
        timing=None,
        features=None,
    )
