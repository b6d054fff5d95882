"""Linear classification on a frozen tower: what of an image's class lies open in its embedding, or in its map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from training.evaluate.committee.linear_probe import Probe, fit_probe
from training.experts.errors import ExpertError

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledSet:
    """n pictures with their classes. features: float32[n, d], embeddings or `pooled` maps; truth: int64[n], from 0.

    Raises `ExpertError` if there are not as many classes as features.
    """

    features: Floats
    truth: Integers

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.truth):
            raise ExpertError(f"features {self.features.shape} with the classes of {len(self.truth)} pictures.")


def pooled(places: Tensor) -> Floats:
    """Maps float32[n, c, rows, columns] averaged over their places: float32[n, c]."""
    return np.asarray(places.float().mean(dim=(2, 3)).cpu().numpy(), dtype=np.float32)


def fit_classifier(fitted: LabelledSet, classes: int, *, seed: int) -> Probe:
    """A linear layer of `classes` outputs by L-BFGS. Its decay is chosen on a fifth of the pictures, which the seed
    draws (see `linear_probe.fit_probe`). Raises `ExpertError` for too few pictures, and classes that do not exist."""
    if len(fitted.truth) and not 0 <= fitted.truth.min() <= fitted.truth.max() < classes:
        raise ExpertError(f"classes go from 0 to {classes - 1}, not {fitted.truth.min()} to {fitted.truth.max()}.")
    order = np.random.default_rng(seed).permutation(len(fitted.truth))
    try:
        return fit_probe(fitted.features[order], fitted.truth[order], classes)
    except ValueError as error:
        raise ExpertError(f"{error}.") from error


def measure_classifier(probe: Probe, unseen: LabelledSet) -> dict[str, float]:
    """`top1`, the share of pictures that are put into their class, and `balanced`, the mean of that share over the
    classes that are there, so that frequent ones count no more than others. Raises `ExpertError` for no picture."""
    if not len(unseen.truth):
        raise ExpertError("accuracy is measured on one picture at least.")
    right = probe.logits(unseen.features).argmax(axis=1) == unseen.truth
    each = [right[unseen.truth == label].mean() for label in np.unique(unseen.truth)]
    return {"top1": float(right.mean()), "balanced": float(np.mean(each))}
