"""What groups of units say of a probe: means over seeds, and differences paired by seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.evaluate.adapters.findings import Spread, spread
from training.evaluate.experts.measures import NAMED, SEARCHED, Measure, measure_of
from training.evaluate.experts.report import ExpertsReport, Group
from training.evaluate.statistics import Floats

Values = dict[int, float]
RECALLS: Final = tuple(f"{kind} R@{k}" for kind in ("image", "text") for k in (1, 5, 10))
"""Text retrieval, which is by picture, then image retrieval, as table 4 has them."""


@dataclass(frozen=True)
class Findings:
    """The report's groups, looked up by backbone and label."""

    report: ExpertsReport

    def group(self, tower: str, label: str) -> Group | None:
        """The units of a label, if any has scores."""
        found = [each for each in self.report.groups if (each.tower, each.label) == (tower, label) and each.seeds]
        return found[0] if found else None

    def values(self, tower: str, label: str, probe: str, metric: str = "") -> Values:
        """By seed what a probe comes to; empty where it was not measured."""
        group = self.group(tower, label)
        if group is None or probe not in group.scores:
            return {}
        return dict(zip(group.seeds, group.scores[probe][metric or measure_of(probe).metric], strict=True))

    def mean(self, tower: str, label: str, probe: str, metric: str = "") -> Spread | None:
        """Over seeds."""
        values = self.values(tower, label, probe, metric)
        return spread(list(values.values())) if values else None

    def gain(self, tower: str, one: str, other: str, probe: str) -> Spread | None:
        """How much better `one` is than `other`, paired by seed: above 0 is better, also where less is better."""
        sign = 1 if measure_of(probe).higher else -1
        return _paired(self.values(tower, one, probe), self.values(tower, other, probe), sign)

    def named(self, tower: str, label: str) -> Values:
        """Zero-shot accuracy, mean over sources."""
        return _mean([self.values(tower, label, f"{source}/zero-shot") for source in NAMED])

    def found(self, tower: str, label: str) -> Values:
        """Recall at 1, mean over both ways."""
        probe = f"{SEARCHED}/retrieval"
        return _mean([self.values(tower, label, probe, metric) for metric in ("text R@1", "image R@1")])

    def kept(self, tower: str, one: str, other: str, *, search: bool) -> Spread | None:
        """What `one` knows without examples, less what `other` does."""
        what = self.found if search else self.named
        return _paired(what(tower, one), what(tower, other))

    def since(self, tower: str, label: str, before: str, *, search: bool) -> Spread | None:
        """What `label` knows without examples, less what the backbone `before` any fitting does, which has no seed."""
        what = self.found if search else self.named
        known, values = what(tower, before), what(tower, label)
        if not known or not values:
            return None
        start = float(np.mean(list(known.values())))
        return spread([value - start for value in values.values()])

    def blind(self, probe: str) -> float | None:
        """What the usual answer at every pixel comes to; null where there is none."""
        return self.report.blind.get("/".join(probe.split("/")[:2]), {}).get(measure_of(probe).metric)

    def class_gains(self, tower: str, one: str, other: str, probe: str) -> dict[str, Spread]:
        """By class the IoU of `one` less that of `other`, for classes that both have (figure 2b)."""
        first, second = self.group(tower, one), self.group(tower, other)
        if first is None or second is None or probe not in first.ious or probe not in second.ious:
            return {}
        a, b = (dict(zip(each.seeds, each.ious[probe], strict=True)) for each in (first, second))
        seeds = sorted(a.keys() & b.keys())
        gains: dict[str, Spread] = {}
        for place, name in enumerate(self.report.classes[probe.split("/")[0]]):
            pairs = [(a[seed][place], b[seed][place]) for seed in seeds]
            known = [x - y for x, y in pairs if x is not None and y is not None]
            if known:
                gains[name] = spread(known)
        return gains


def _mean(parts: Sequence[Values]) -> Values:
    seeds = set.intersection(*(set(part) for part in parts))
    return {seed: float(np.mean([part[seed] for part in parts])) for seed in sorted(seeds)}


def _paired(first: Values, second: Values, sign: int = 1) -> Spread | None:
    shared = sorted(first.keys() & second.keys())
    return spread([sign * (first[seed] - second[seed]) for seed in shared]) if shared else None


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: the correlation of ranks, equal values sharing theirs; 0 where all of one are equal."""
    a, b = (_ranks(np.asarray(each, dtype=np.float64)) for each in (first, second))
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Floats) -> Floats:
    below = (values[:, None] > values[None, :]).sum(axis=1)
    equal = (values[:, None] == values[None, :]).sum(axis=1)
    return np.asarray(below + (equal - 1) / 2, dtype=np.float64)


def shown(found: Spread | None, measure: Measure, missing: str) -> str:
    """A mean with its interval and seeds, in percent or as it is."""
    if found is None:
        return missing
    scale, digits = (100, 1) if measure.percent else (1, 3)
    middle = f"{scale * found.mean:.{digits}f}"
    if found.low is None or found.high is None:
        return f"{middle} (n = {found.n})"
    return f"{middle} [{scale * found.low:.{digits}f}, {scale * found.high:.{digits}f}] (n = {found.n})"


def value_shown(value: float, measure: Measure) -> str:
    """One value, in percent or as it is."""
    return f"{100 * value:.1f}" if measure.percent else f"{value:.3f}"


def gain_shown(found: Spread, measure: Measure) -> str:
    """A gain with its interval and seeds, in points or as it is; above 0 is better."""
    scale, digits = (100, 1) if measure.percent else (1, 3)
    middle = f"{scale * found.mean:+.{digits}f}"
    if found.low is None or found.high is None:
        return f"{middle} (n = {found.n})"
    return f"{middle} [{scale * found.low:+.{digits}f}, {scale * found.high:+.{digits}f}] (n = {found.n})"
