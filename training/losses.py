"""Contrastive losses."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def soft_targets(groups: Sequence[str]) -> Tensor:
    """Row-stochastic targets: float32[n, n], equal weight on every pair whose captions mean the same.

    With a few hundred classes a batch of 256 holds many pictures of one class; scoring one as the other's negative
    would teach that equal texts differ.
    """
    order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    ids = torch.tensor([order[group] for group in groups])
    same = (ids[:, None] == ids[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, targets: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy (Radford et al. 2021, figure 3) with soft targets.

    image, text: float32[n, d], unit rows, row i of both being a pair; scale: the positive factor on cosines;
    targets: float32[n, n] as `soft_targets` makes them (symmetric in which pairs count, so one matrix serves both
    directions). With all captions distinct this is the plain loss.
    """
    logits = scale * image @ text.T
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2
