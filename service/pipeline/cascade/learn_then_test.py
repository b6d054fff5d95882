"""Exact binomial tests along one fixed path of settings, from safe to aggressive (Learn-then-Test).

Source: Angelopoulos, Bates, Candes, Jordan, Lei, "Learn then Test" (2021), fixed-sequence testing. The path must be
fixed before any count of the tested images is known; then P(every setting that passed has a risk <= epsilon) is at
least 1 - delta, however many settings the path has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequestError

ROUNDING: Final = 1e-12
"""Relative. What a p-value that equals delta on paper may exceed it by in floating point."""
BISECTIONS: Final = 40
GAP_LEVELS: Final = (0.25, 0.5, 0.75, 1.0)
"""In units of epsilon: the bounds that the test of the accuracy gap tries. Few, because they share its delta."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """`step` is the last setting of the path that passed, None when not even the first did.

    `errors`, `p_value` and `allowed` (the most errors that still pass) belong to that step; without one, to the first.
    """

    step: int | None
    errors: int
    p_value: float
    allowed: int


def binomial_cdf(errors: int, trials: int, chance: float) -> float:
    """P(X <= errors) for X ~ Binomial(trials, chance), by the exact sum."""
    if errors < 0:
        return 0.0
    if errors >= trials or chance <= 0.0:
        return 1.0
    if chance >= 1.0:
        return 0.0
    return float(min(1.0, _cumulative(errors, trials, chance)[-1]))


def _cumulative(errors: int, trials: int, chance: float) -> NDArray[np.float64]:
    """P(X <= k) for k = 0..errors, `float64[errors + 1]`; the terms are summed in logarithms of their ratios."""
    k = np.arange(errors, dtype=np.float64)
    ratios = np.log((trials - k) / (k + 1)) + (math.log(chance) - math.log1p(-chance))
    log_terms = trials * math.log1p(-chance) + np.concatenate([[0.0], np.cumsum(ratios)])
    largest = float(log_terms.max())
    return np.asarray(np.cumsum(np.exp(log_terms - largest)) * math.exp(largest), dtype=np.float64)


def check_levels(epsilon: float, delta: float) -> None:
    """Raises `InvalidRequestError`, naming the field, unless both are strictly between 0 and 1."""
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise InvalidRequestError(f"{name} is {value}, it must lie between 0 and 1.", param=name)


def smallest_sample(epsilon: float, delta: float) -> int:
    """The fewest tested images with which anything can pass: n >= log(delta) / log(1 - epsilon), all without error."""
    check_levels(epsilon, delta)
    n = max(1, math.ceil(math.log(delta) / math.log1p(-epsilon) * (1.0 - ROUNDING)))
    return n if _passes(binomial_cdf(0, n, epsilon), delta) else n + 1


def allowed_errors(trials: int, epsilon: float, delta: float) -> int:
    """The most errors among `trials` with which "risk > epsilon" is still rejected at level delta; -1 for none."""
    check_levels(epsilon, delta)
    if trials < smallest_sample(epsilon, delta):
        return -1
    # Beyond the mean the tail is about a half or more, so the search may stop there unless delta is that large.
    most = trials - 1 if delta >= 0.4 else min(trials - 1, math.ceil(trials * epsilon))
    passing = _cumulative(most, trials, epsilon) <= delta * (1.0 + ROUNDING)
    return int(np.flatnonzero(passing)[-1])


def _passes(p_value: float, delta: float) -> bool:
    return p_value <= delta * (1.0 + ROUNDING)


def last_passing(errors: Sequence[int], trials: int, epsilon: float, delta: float) -> Certificate:
    """Walk the path while "risk > epsilon" is rejected; stop at the first that is not, use the one before it.

    `errors[j]` counts the tested images that setting `j` of the path gets wrong. Raises `ValueError` for an empty path.
    """
    if not errors:
        raise ValueError("a path needs at least one setting")
    allowed = allowed_errors(trials, epsilon, delta)
    passed = 0
    while passed < len(errors) and errors[passed] <= allowed:
        passed += 1
    shown = errors[max(0, passed - 1)]
    return Certificate(passed - 1 if passed else None, shown, binomial_cdf(shown, trials, epsilon), allowed)


def upper_bound(errors: int, trials: int, alpha: float) -> float:
    """One-sided Clopper-Pearson: the chance under which so few errors have probability `alpha`."""
    if errors >= trials:
        return 1.0
    return _root(lambda chance: binomial_cdf(errors, trials, chance) > alpha)


def lower_bound(errors: int, trials: int, alpha: float) -> float:
    """One-sided Clopper-Pearson: the chance under which so many errors have probability `alpha`."""
    if errors <= 0:
        return 0.0
    return _root(lambda chance: 1.0 - binomial_cdf(errors - 1, trials, chance) <= alpha)


def _root(below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def certified_gap(
    worse: Sequence[int], better: Sequence[int], trials: int, step: int, epsilon: float, delta: float
) -> float | None:
    """The smallest of `GAP_LEVELS` (times epsilon) that bounds the accuracy gap at `step`; None when none does.

    `worse[j]` counts the tested images that setting `j` gets wrong and the full committee right, `better[j]` the
    reverse. Every level is a fixed-sequence test along the path at its share of delta, so P(wrong bound) is at most
    delta although `step` was chosen on the same images. A setting passes when the Clopper-Pearson bounds of both
    shares, at half of that each, put their difference below the level.
    """
    alpha = delta / (2 * len(GAP_LEVELS))
    counts = set(zip(worse[: step + 1], better[: step + 1], strict=True))
    highest = max(upper_bound(w, trials, alpha) - lower_bound(b, trials, alpha) for w, b in counts)
    return next((level * epsilon for level in GAP_LEVELS if highest <= level * epsilon), None)
