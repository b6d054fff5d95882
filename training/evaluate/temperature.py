"""A backbone's own temperature, fitted by likelihood."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

LOWEST, HIGHEST = 0.05, 20.0


def nll(logits: Logits, truth: Integers, temperature: float) -> float:
    """Mean negative log likelihood in nats of softmax(logits / temperature). logits: float32[n, c]; truth: int64[n]."""
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1)
    log_sum = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float((log_sum - scaled[np.arange(len(truth)), truth]).mean())


def fit_temperature(tasks: Sequence[tuple[Logits, Integers]]) -> float:
    """The T in [0.05, 20] that minimises the mean over tasks of `nll`, to four digits.

    Every task counts the same, whatever its size. The function is unimodal in log T (Guo et al. 2017), so a
    golden-section search finds it. Raises `ValueError` without tasks.
    """
    if not tasks:
        raise ValueError("a temperature needs at least one labelled task")

    def loss(log_temperature: float) -> float:
        return float(np.mean([nll(logits, truth, float(np.exp(log_temperature))) for logits, truth in tasks]))

    low, high = float(np.log(LOWEST)), float(np.log(HIGHEST))
    ratio = (5**0.5 - 1) / 2
    inner_low, inner_high = high - ratio * (high - low), low + ratio * (high - low)
    loss_low, loss_high = loss(inner_low), loss(inner_high)
    while high - low > 1e-4:
        if loss_low < loss_high:
            high, inner_high, loss_high = inner_high, inner_low, loss_low
            inner_low = high - ratio * (high - low)
            loss_low = loss(inner_low)
        else:
            low, inner_low, loss_low = inner_low, inner_high, loss_high
            inner_high = low + ratio * (high - low)
            loss_high = loss(inner_high)
    return float(f"{np.exp((low + high) / 2):.4g}")
