"""What the study of experts found, as values and as JSON: scores by seed, from which tables, plots and words follow."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from training.data.rows import DataError
from training.evaluate.experts.units import Result
from training.evaluate.report_json import report_json
from training.experts.labels.encoding import decode
from training.experts.packs.pack import ExpertPack, PackedSet

DIGITS: Final = 5
SEEN_SHARE: Final = 0.002
"""A class is on a picture where it covers so much of it: 18 pixels of 96 by 96."""
TAUGHT: Final = ("photographs", "scenes_fit")


@dataclass(frozen=True)
class SetFacts:
    """A set of the pack. labels: by origin and task, whose they are and for how many pictures they are there."""

    source: str
    pictures: int
    labels: dict[str, tuple[str, int]]


@dataclass(frozen=True)
class Group:
    """The units of one label and backbone that differ in their seed alone.

    scores: by probe and metric, one value for each of `seeds`; ious: by probe, for each seed those of all classes, null
    where a class is nowhere; terms: of the first seed's loss, [step, value]; lost: fits without scores, which no
    other figure counts; fit_seconds, probe_seconds: means.
    """

    tower: str
    label: str
    side: int
    seeds: tuple[int, ...]
    lost: int
    pictures: int
    steps: int
    scores: dict[str, dict[str, tuple[float, ...]]]
    ious: dict[str, tuple[tuple[float | None, ...], ...]]
    terms: dict[str, tuple[tuple[float, float], ...]]
    fit_seconds: float
    probe_seconds: float


@dataclass(frozen=True)
class ExpertsReport:
    """The whole suite. pack: sha256 of what everything was computed from; machines: units by machine; classes: names by
    place of probing ("scenes", "composites"), the background first; taught: names of the experts' classes; frequency:
    by set and class, the share of pictures on which the experts see it; blind: by place of probing and task
    ("scenes/depth") and metric, what is reached without a tower (see `trivial.scores_by_place`)."""

    suite: str
    pack: str
    machines: dict[str, int]
    towers: tuple[str, ...]
    sets: dict[str, SetFacts]
    classes: dict[str, tuple[str, ...]]
    taught: tuple[str, ...]
    frequency: dict[str, dict[str, float]]
    groups: tuple[Group, ...]
    blind: dict[str, dict[str, float]] = field(default_factory=dict)


def grouped(results: Sequence[Result]) -> tuple[Group, ...]:
    """Units that differ in their seed alone as one; of a label and seed that was computed again, the last counts."""
    found: dict[tuple[str, str], dict[int, Result]] = {}
    for result in results:
        found.setdefault((result.tower, result.label), {})[result.seed] = result
    return tuple(_group([by_seed[seed] for seed in sorted(by_seed)]) for by_seed in found.values())


def _group(results: Sequence[Result]) -> Group:
    whole = [each for each in results if not each.lost]
    last = whole[-1] if whole else results[-1]
    probes = [probe for probe in last.scores if all(probe in each.scores for each in whole)]
    return Group(
        tower=last.tower,
        label=last.label,
        side=last.side,
        seeds=tuple(each.seed for each in whole),
        lost=len(results) - len(whole),
        pictures=last.pictures,
        steps=last.steps,
        scores={
            probe: {metric: tuple(each.scores[probe][metric] for each in whole) for metric in last.scores[probe]}
            for probe in probes
        },
        ious={probe: tuple(tuple(each.ious[probe]) for each in whole) for probe in probes if probe in last.ious},
        terms={
            name: tuple((step, value) for step, value in points)
            for name, points in (whole[0].terms if whole else {}).items()
        },
        fit_seconds=float(np.mean([each.fit_seconds for each in results])),
        probe_seconds=float(np.mean([each.probe_seconds for each in results])),
    )


def set_facts(pack: ExpertPack) -> dict[str, SetFacts]:
    """What the pack holds."""
    return {
        name: SetFacts(
            each.source,
            len(each),
            {key: (maps.by, sum(one is not None for one in maps.maps)) for key, maps in each.maps.items()},
        )
        for name, each in pack.sets.items()
    }


def frequencies(chosen: PackedSet) -> dict[str, float]:
    """By class, without the background, the share of pictures on which an expert sees it (figure 2a)."""
    labels = chosen.maps["pseudo-classes"]
    counts = np.zeros(len(labels.classes))
    known = [each for each in labels.maps if each is not None]
    for each in known:
        found = decode(labels.kind, each)
        shares = np.bincount(found.ravel(), minlength=256)[: len(counts)] / found.size
        counts += shares >= SEEN_SHARE
    shares = counts / max(1, len(known))
    return dict(zip(labels.classes[1:], shares[1:].tolist(), strict=True))


def dump_report(report: ExpertsReport) -> str:
    """The report as JSON, a group in one line."""
    return report_json(asdict(report), lists=("groups",), digits=DIGITS)


def load_report(path: Path) -> ExpertsReport:
    """A report that `dump_report` wrote. Raises `DataError` for a file that is none."""
    try:
        return TypeAdapter(ExpertsReport).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: not a report of the experts suite: {error}") from error
