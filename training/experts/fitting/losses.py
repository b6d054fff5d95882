"""Equation 1: the contrastive loss and what every expert adds to it, weighed."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from training.experts.fitting.heads import Predictions
from training.experts.metrics import disparity
from training.experts.targets import NO_CLASS, Targets

DepthForm = Literal["median", "inverse", "unit", "plain"]
DEPTH_FORMS: tuple[DepthForm, ...] = ("median", "inverse", "unit", "plain")
SMALLEST_RANGE = 1e-6


@dataclass(frozen=True)
class Weights:
    """The factors of equation 1, by default those of table 7. A factor of 0 switches its term off; with the three
    experts off, what is left is fine-tuning by captions alone (CLIP-FT)."""

    clip: float = 1.0
    classes: float = 0.1
    depth: float = 1.0
    normals: float = 1.0

    def __post_init__(self) -> None:
        factors = (self.clip, self.classes, self.depth, self.normals)
        if min(factors) < 0 or max(factors) <= 0:
            raise ValueError("loss weights are not negative, and one of them is positive")


def class_loss(logits: Tensor, classes: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over the pixels that have a class, a scalar; 0 where none has.

    logits: float32[n, c, h, w]; classes: int64[n, h, w]; class_weights: float32[c], how much the pixels of each class
    count (a weighted mean, so that equal weights are none).
    """
    known = classes != NO_CLASS
    if not known.any():
        return logits.sum() * 0
    return functional.cross_entropy(logits, classes, weight=class_weights, ignore_index=NO_CLASS)


def depth_loss(found: Tensor, depth: Tensor, form: DepthForm = "median") -> Tensor:
    """L1 over the pixels that have a depth, a scalar; 0 where none has. Both float32[n, h, w].

    `form` says what becomes of the targets before, see `normalised_depth`.
    """
    return _masked_l1(found, normalised_depth(depth, form))


def normal_loss(found: Tensor, normals: Tensor) -> Tensor:
    """L1 over the three components of unit vectors at the pixels that have them, a scalar; both float32[n, 3, h, w]."""
    return _masked_l1(found, normals)


def _masked_l1(found: Tensor, target: Tensor) -> Tensor:
    known = ~target.isnan()
    if not known.any():
        return found.sum() * 0
    return (found - target)[known].abs().mean()


def normalised_depth(depth: Tensor, form: DepthForm) -> Tensor:
    """Depth or disparity as a head is to give it, float32[n, h, w], NaN staying NaN and infinities becoming it.

    The paper says "L1" and no more. Its expert gives disparity up to a scale and a shift that differ between pictures,
    so `median`, the default, takes both away as those who trained that expert do (Ranftl et al. 2020, equation 5): the
    median becomes 0 and the mean distance from it 1, and a head that always says 0 has a loss of 1. `inverse`
    does so with 1 / depth, for experts that give depths; infinitely far is 0 there. `unit` maps what a picture has to
    0..1, `plain` leaves everything as it is.
    """
    if form == "inverse":
        depth = disparity(depth)
    depth = torch.where(depth.isfinite(), depth, torch.nan)
    if form == "plain":
        return depth
    flat = depth.flatten(1)
    if form == "unit":
        low = torch.nan_to_num(flat, nan=torch.inf).amin(dim=1, keepdim=True)
        spread = torch.nan_to_num(flat, nan=-torch.inf).amax(dim=1, keepdim=True) - low
    else:
        low = flat.nanmedian(dim=1, keepdim=True).values
        spread = (flat - low).abs().nanmean(dim=1, keepdim=True)
    return ((flat - low) / spread.clamp(min=SMALLEST_RANGE)).view_as(depth)


def dense_terms(
    found: Predictions,
    targets: Targets,
    *,
    class_weights: Tensor | None = None,
    depth_form: DepthForm = "median",
) -> dict[str, Tensor]:
    """The loss of every task that has both a head and targets, by its name."""
    terms: dict[str, Tensor] = {}
    if found.classes is not None and targets.classes is not None:
        terms["classes"] = class_loss(found.classes, targets.classes, class_weights)
    if found.depth is not None and targets.depth is not None:
        terms["depth"] = depth_loss(found.depth, targets.depth, depth_form)
    if found.normals is not None and targets.normals is not None:
        terms["normals"] = normal_loss(found.normals, targets.normals)
    return terms


def known_counts(
    targets: Targets, *, class_weights: Tensor | None = None, depth_form: DepthForm = "median"
) -> dict[str, Tensor]:
    """How much the mean of each term of `dense_terms` is a mean over, scalars: values that are known, or the sum of
    their weights."""
    counts: dict[str, Tensor] = {}
    if targets.classes is not None:
        there = targets.classes[targets.classes != NO_CLASS]
        counts["classes"] = torch.tensor(float(len(there))) if class_weights is None else class_weights[there].sum()
    if targets.depth is not None:
        counts["depth"] = (~normalised_depth(targets.depth, depth_form).isnan()).sum()
    if targets.normals is not None:
        counts["normals"] = (~targets.normals.isnan()).sum()
    return counts


def total_loss(terms: dict[str, Tensor], weights: Weights) -> Tensor:
    """Equation 1, a scalar: the terms by their names in `Weights`, each times its factor."""
    return torch.stack([value * getattr(weights, name) for name, value in terms.items()]).sum()
