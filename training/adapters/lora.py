"""Low-rank forms of the ensembles: MSA-Lo (equation 11 and the appendix).

Factors are stored as [in, out]: the paper's A is `first` (d to rank), its B is `second` (rank to d). As in LoRA (Hu et
al. 2021) B starts at zero, so a tower starts exactly as its backbone; A starts as a linear layer does, within
1 / sqrt(d). LoRA's scale alpha / rank is 1: the paper names none.
"""

from typing import cast

import torch
from torch import Tensor, nn

from training.adapters.attention import ScaleAttention, project
from training.adapters.design import Branches, Factors, MaskForm
from training.adapters.layers import Draw, Linear, normal


def _first(draw: Draw, d: int, columns: int) -> nn.Parameter:
    return normal(draw, d, columns, std=(3 * d) ** -0.5)


def _zeros(draw: Draw, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(rows, columns, device="meta" if draw is None else "cpu"))


class LowRankScales(nn.Module):
    """MSA-Lo in place of the attention's output: the branches of all scales, added.

    By the appendix the large branch's low rank lies parallel to the attention (it reads what the attention reads), that
    of the middle and small branch after it (it reads their features). What these two *add* is open: by equation 11 to
    the letter also Att* itself ("whole"), which makes three attentions where there was one, far from the near-identity
    that the appendix asks for; so by default their low-rank product alone ("low-rank"), just as the pyramid, which it
    replaces, starts with next to nothing of them.

        Att^L + x A^L B + Att^M A^M B + Att^S A^S B

    With `shared` factors B is one for all branches, with `separate` each has its own. `parallel` computes all branches
    as one pair of products, otherwise one branch after another; the results are equal.
    """

    def __init__(
        self, d: int, rank: int, bands: Tensor, form: MaskForm, factors: Factors, branches: Branches, draw: Draw
    ) -> None:
        super().__init__()
        self.scales = ScaleAttention(bands, form)
        self.rank, self.factors, self.branches, self.parallel = rank, factors, branches, True
        self.first = nn.Parameter(torch.stack([_first(draw, d, rank) for _ in bands]).detach())
        self.second = _zeros(draw, rank * (len(bands) if factors == "separate" else 1), d)

    def forward(self, attention: nn.MultiheadAttention, x: Tensor, attn_mask: Tensor | None) -> Tensor:
        """x: float[n, T, d], normalised as the frozen attention wants it -> float[n, T, d]."""
        mixed = cast(Tensor, self.scales(attention, x, attn_mask))
        features = project(attention, mixed)
        attended = features[..., 0, :] if self.branches == "low-rank" else features.sum(dim=-2)
        inputs = torch.cat([x[..., None, :], features[..., 1:, :]], dim=-2)
        if self.parallel:
            return attended + self._together(inputs)
        return attended + sum(self._branch(inputs[..., index, :], index) for index in range(len(self.first)))

    def _together(self, inputs: Tensor) -> Tensor:
        """[n, T, s, d] -> [n, T, d]: what is summed in the end may be laid side by side before a product."""
        if self.factors == "shared":
            return inputs.flatten(-2) @ self.first.flatten(0, 1) @ self.second
        return torch.einsum("...sd,sdr->...sr", inputs, self.first).flatten(-2) @ self.second

    def _branch(self, branch: Tensor, index: int) -> Tensor:
        start = index * self.rank if self.factors == "separate" else 0
        return branch @ self.first[index] @ self.second[start : start + self.rank]


class LowRankEnsemble(Linear):
    """MSA-Lo after the feed-forward part: f + f A B1 + f A B2 + f A B3, A shared (appendix).

    The three B lie side by side and run as one product, "parallel" in the paper's table 7; otherwise one after another.
    With `separate` factors every branch has an A of its own. The branches are linear and read the same f, so as a map
    they are one product of rank `rank` (`separate`: three times that); they differ in how fast they learn.
    """

    def __init__(self, d: int, rank: int, branches: int, factors: Factors, draw: Draw) -> None:
        super().__init__()
        self.rank, self.branches, self.factors, self.parallel = rank, branches, factors, True
        self.first = _first(draw, d, rank * (branches if factors == "separate" else 1))
        self.second = _zeros(draw, rank, branches * d)

    def forward(self, f: Tensor) -> Tensor:
        """float[..., d] -> float[..., d]."""
        if self.factors == "shared" and self.parallel:
            together = f @ self.first @ self.second
            return f + together.view(*f.shape[:-1], self.branches, -1).sum(dim=-2)
        if self.parallel:
            return f + f @ self.first @ self._stacked()
        return f + sum(f @ self._factor(index) @ second for index, second in enumerate(self._parts()))

    def _factor(self, index: int) -> Tensor:
        start = index * self.rank if self.factors == "separate" else 0
        return self.first[:, start : start + self.rank]

    def _parts(self) -> tuple[Tensor, ...]:
        return self.second.chunk(self.branches, dim=1)

    def _stacked(self) -> Tensor:
        """The B below each other, [branches * rank, d]: sums over branches happen inside the product."""
        return torch.cat(self._parts())

    def matrix(self) -> Tensor:
        first = self.first.repeat(1, self.branches) if self.factors == "shared" else self.first
        return first @ self._stacked() + torch.eye(len(self.first), device=self.first.device)
