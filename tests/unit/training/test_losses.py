"""The contrastive loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training.losses import contrastive_loss, soft_targets

pytestmark = pytest.mark.torch


def _unit(n: int, d: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_distinct_captions_give_the_plain_clip_loss() -> None:
    image, text, scale = _unit(5, 8, 0), _unit(5, 8, 1), torch.tensor(10.0)
    logits, pairs = scale * image @ text.T, torch.arange(5)
    plain = (functional.cross_entropy(logits, pairs) + functional.cross_entropy(logits.T, pairs)) / 2
    assert contrastive_loss(image, text, scale, soft_targets("abcde")).item() == pytest.approx(plain.item(), rel=1e-6)


def test_targets_share_their_weight_over_equal_captions() -> None:
    expected = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    assert torch.equal(soft_targets(["cat", "dog", "cat"]), expected)


def test_two_pictures_of_one_caption_are_not_pushed_apart() -> None:
    text = _unit(3, 8, 1)[[0, 1, 0]]
    image = text.clone().requires_grad_()
    loss = contrastive_loss(image, text, torch.tensor(1.0), soft_targets(["cat", "dog", "cat"]))
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert image.grad is not None
    assert torch.allclose(image.grad[0], image.grad[2], atol=1e-7)


def test_equal_captions_scored_as_negatives_would_cost_more_at_the_optimum() -> None:
    text = torch.eye(3)[[0, 1, 0]]
    scale = torch.tensor(50.0)
    soft = contrastive_loss(text, text, scale, soft_targets(["cat", "dog", "cat"]))
    hard = contrastive_loss(text, text, scale, torch.eye(3))
    # Both reach ln 2 on the repeated pair; the soft one cannot be lowered by telling equal texts apart.
    assert soft.item() == pytest.approx(hard.item(), abs=1e-4)
    apart = functional.normalize(text + torch.tensor([[0.0, 0, 0.3], [0, 0, 0], [0, 0, -0.3]]), dim=-1)
    assert contrastive_loss(apart, apart, scale, soft_targets(["cat", "dog", "cat"])) > soft
    assert contrastive_loss(apart, apart, scale, torch.eye(3)) < hard
