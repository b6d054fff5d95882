"""What groups of fits say about a setting: means over seeds, and differences paired by seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.adapters.settings import PRETRAINING, RESERVED, Setting
from training.evaluate.adapters.grid import FIGURE_1
from training.evaluate.adapters.report import AdaptersReport, Group

SHORT: Final = 5
"""Epochs of the paper."""

SETTINGS: Final[dict[Setting, tuple[str, tuple[str, ...]]]] = {
    Setting.ADAPTATION: ("reserved", RESERVED),
    Setting.REGULAR: ("pretraining", PRETRAINING),
    Setting.ZERO_SHOT: ("pretraining", RESERVED),
    Setting.RETURN: ("reserved", PRETRAINING),
}
"""By setting what is fitted on, and what is tested."""

SIZES: Final = (1, 2, 4, 8)
"""N of figure 1."""

T_975: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Quantiles of Student's t by degrees of freedom, from 1 on."""
NORMAL_975: Final = 1.96


@dataclass(frozen=True)
class Spread:
    """A mean over `n` seeds with its 95% t interval; without one for a single seed, and for what has no seed."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def is_above(self) -> bool:
        """Surely above 0."""
        return self.low is not None and self.low > 0

    @property
    def is_below(self) -> bool:
        """Surely below 0."""
        return self.high is not None and self.high < 0


def spread(values: Sequence[float]) -> Spread:
    """Mean and interval of at least one value."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Spread(mean, None, None, n)
    quantile = T_975[n - 2] if n - 2 < len(T_975) else NORMAL_975
    reach = quantile * float(np.std(values, ddof=1)) / n**0.5
    return Spread(mean, mean - reach, mean + reach, n)


@dataclass(frozen=True)
class Findings:
    """The report's groups of one length, looked up by design."""

    report: AdaptersReport
    epochs: int = SHORT

    def group(self, label: str, fitted: str) -> Group | None:
        """The fits of a design on a training set, if it has scores; those of the largest batch where batches differ."""
        found = [
            each
            for each in self.report.groups
            if (each.label, each.fitted) == (label, fitted)
            and each.scores
            and (each.epochs == self.epochs or label == "zero-shot")
        ]
        return max(found, key=lambda each: each.batch_size, default=None)

    def labels(self, setting: Setting) -> list[str]:
        """Designs that have a value in a setting, by what they add."""
        fitted = SETTINGS[setting][0]
        found = {
            each.label: each.share
            for each in self.report.groups
            if each.fitted == fitted and self.values(each.label, setting)
        }
        return sorted(found, key=lambda label: (found[label], label))

    def sources(self, setting: Setting) -> list[str]:
        """What is tested in a setting."""
        return [source for source in SETTINGS[setting][1] if source in self.report.sources]

    def values(self, label: str, setting: Setting) -> dict[int, float]:
        """By seed the mean over the setting's sources of what sums each up; empty if one of them was not tested."""
        group, sources = self.group(label, SETTINGS[setting][0]), self.sources(setting)
        if group is None or not sources or not all(source in group.scores for source in sources):
            return {}
        rows = [group.scores[source][self.report.sources[source].metric] for source in sources]
        return dict(zip(group.seeds, np.mean(rows, axis=0).tolist(), strict=True))

    def mean(self, label: str, setting: Setting) -> Spread | None:
        """Over seeds."""
        values = self.values(label, setting)
        return spread(list(values.values())) if values else None

    def gain(self, one: str, other: str, setting: Setting) -> Spread | None:
        """`one` less `other`, paired by seed; what is not fitted has one value for all seeds."""
        first, second = self.values(one, setting), self.values(other, setting)
        if other == "zero-shot" and second:
            second = dict.fromkeys(first, next(iter(second.values())))
        elif one == "zero-shot" and first:
            first = dict.fromkeys(second, next(iter(first.values())))
        shared = sorted(first.keys() & second.keys())
        return spread([first[seed] - second[seed] for seed in shared]) if shared else None

    def calibrate(self, label: str, fitted: str) -> float | None:
        """Mean loss on calibrate rows, which no test row enters."""
        group = self.group(label, fitted)
        return None if group is None else float(np.mean(group.calibrate))

    def sizes(self) -> dict[str, dict[int, Spread]]:
        """Figure 1 in the setting adaptation: by design and N, as far as there is anything."""
        found = {base: {n: self.mean(sized(base, n), Setting.ADAPTATION) for n in SIZES} for base in FIGURE_1}
        known = {base: {n: each for n, each in sizes.items() if each is not None} for base, sizes in found.items()}
        return {base: sizes for base, sizes in known.items() if sizes}


def sized(base: str, n: int) -> str:
    """The label of a design of figure 1 with N units; 2 is the usual number."""
    return base if n == 2 else f"{base}-n{n}"
