"""Adapters merged into the matrices before them, wherever they are linear: what is exported and served.

A linear adapter behind the attention or the feed-forward part disappears: the served block is one of OpenCLIP's own and
costs what the backbone's costs. Of the multi-scale forms the masks remain, since a softmax lies between; what follows
the softmax becomes one product. Bottlenecks with an activation and CLIP-Adapter stay as they are.
"""

from typing import cast

import torch
from open_clip.transformer import Transformer
from torch import Tensor, nn

from training.adapters.attach import TOWERS, Adapted, AdaptedBlock, Head, Tower, text_of, twin
from training.adapters.attention import PyramidScales, ScaleAttention
from training.adapters.build import BlockAdapters
from training.adapters.layers import Bottlenecks, Linear
from training.adapters.lora import LowRankScales


class Merged(nn.Module):
    """A CLIP whose adapters are part of it as far as they can be; encodes as the `Adapted` that it was made from."""

    def __init__(self, model: nn.Module, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.model, self.heads = model, heads

    @property
    def logit_scale(self) -> nn.Parameter:
        """The logarithm of the factor on cosines."""
        return cast(nn.Parameter, self.model.logit_scale)

    def encode_image(self, image: Tensor) -> Tensor:
        """float32[n, 3, h, w], normalised -> float32[n, e]."""
        return cast(Tensor, self.heads["vision"](self.model.encode_image(image)))  # type: ignore[operator]  # untyped

    def encode_text(self, text: Tensor) -> Tensor:
        """int64[n, L] of the full context length -> float32[n, e]."""
        return cast(Tensor, self.heads["language"](self.model.encode_text(text)))  # type: ignore[operator]  # untyped


class MergedPyramid(nn.Module):
    """`PyramidScales` behind the frozen projection as one product [s d, d]; for the large scale alone see `_block`."""

    def __init__(self, scales: ScaleAttention, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.scales = scales
        self.weight, self.bias = (nn.Parameter(value, requires_grad=False) for value in (weight, bias))

    def forward(self, attention: nn.MultiheadAttention, x: Tensor, attn_mask: Tensor | None) -> Tensor:
        """As `PyramidScales`."""
        mixed = cast(Tensor, self.scales(attention, x, attn_mask))
        return mixed.flatten(-2) @ self.weight + self.bias


class MergedLowRank(nn.Module):
    """`LowRankScales` with the frozen projection inside the first factors of the branches behind the attention.

    The middle and small branch then never have d features per position, only `rank`.
    """

    def __init__(self, source: LowRankScales, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.scales, self.whole = source.scales, source.branches == "whole"
        projection, bias = attention.out_proj.weight.T, attention.out_proj.bias
        first, behind = source.first[0], source.first[1:]
        second = source.second.unflatten(0, (-1, source.rank)).expand(len(source.first), -1, -1)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        offset = torch.einsum("d,sdr,srk->k", bias, behind, second[1:])
        values = {
            "first": first,
            "behind": torch.einsum("cd,sdr->scr", projection, behind),
            "second": second,
            "bias": bias * (len(source.first) if self.whole else 1) + offset,
            "projection": projection,
        }
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(value.detach().contiguous(), requires_grad=False) for name, value in values.items()}
        )

    def forward(self, attention: nn.MultiheadAttention, x: Tensor, attn_mask: Tensor | None) -> Tensor:
        """As `LowRankScales`."""
        mixed = cast(Tensor, self.scales(attention, x, attn_mask))
        own = self.weights
        read = mixed.sum(dim=-2) if self.whole else mixed[..., 0, :]
        attended: Tensor = read @ own["projection"] + own["bias"]
        codes = [x @ own["first"], *(mixed[..., index + 1, :] @ each for index, each in enumerate(own["behind"]))]
        low_rank: Tensor = torch.cat(codes, dim=-1) @ own["second"].flatten(0, 1)
        return attended + low_rank


@torch.no_grad()
def merge(adapted: Adapted) -> Merged:
    """What `adapted` computes, with as few operations as the algebra allows. Shares every weight that it can."""
    model = twin(adapted.model)
    model.visual = twin(cast(nn.Module, adapted.model.visual))
    if hasattr(model, "text"):
        model.text = twin(cast(nn.Module, model.text))
    heads = nn.ModuleDict({tower: _merge_tower(model, adapted, tower) for tower in TOWERS})
    return Merged(model, heads).eval()


def _merge_tower(model: nn.Module, adapted: Adapted, tower: Tower) -> Head:
    holder = cast(nn.Module, model.visual) if tower == "vision" else text_of(model)
    if isinstance(getattr(holder, "transformer", None), Transformer):
        transformer = twin(cast(Transformer, holder.transformer))
        merged = [_block(each) if isinstance(each, AdaptedBlock) else each for each in transformer.resblocks]
        transformer.resblocks = nn.ModuleList(merged)
        holder.transformer = transformer
    head = cast(Head, adapted.heads[tower])
    if head.pooled is None or head.projection is None:
        return head
    name = "proj" if tower == "vision" else "text_projection"
    setattr(holder, name, _through(head.projection, cast(Linear, head.pooled).matrix()))
    return Head(None, None, head.embedding)


def _through(projection: nn.Module, matrix: Tensor) -> nn.Module | nn.Parameter:
    """The projection of features that `matrix` maps first, in the form that OpenCLIP holds it."""
    if isinstance(projection, nn.Linear):
        return _linear(projection.weight @ matrix.T, projection.bias)
    return nn.Parameter(matrix @ cast(Tensor, projection.weight), requires_grad=False)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


def _followed(layer: nn.Linear, matrix: Tensor) -> nn.Linear:
    """`layer` and then `matrix` as one layer."""
    return _linear(matrix.T @ layer.weight, None if layer.bias is None else layer.bias @ matrix)


def _is_matrix(module: nn.Module | None) -> bool:
    return isinstance(module, Linear) and not (isinstance(module, Bottlenecks) and module.activation != "none")


def _block(block: AdaptedBlock) -> nn.Module:
    """A block of OpenCLIP's own if nothing is left to add, otherwise one with less to add."""
    frozen, adapters = twin(block.frozen), block.adapters
    scales, attention, feed_forward = adapters.scales, adapters.attention, adapters.feed_forward
    if isinstance(scales, PyramidScales) and len(scales.scales.bands) == 1:  # the full matrix: plain attention
        frozen.attn, scales = _attention_then(frozen.attn, scales.matrix()), None
    elif scales is not None:
        scales = _scales(scales, frozen.attn)
    if _is_matrix(attention):
        frozen.attn, attention = _attention_then(frozen.attn, cast(Linear, attention).matrix()), None
    if _is_matrix(feed_forward):
        mlp = twin(frozen.mlp)
        mlp.c_proj = _followed(mlp.c_proj, cast(Linear, feed_forward).matrix())
        frozen.mlp, feed_forward = mlp, None
    if scales is None and attention is None and feed_forward is None:
        return cast(nn.Module, frozen)
    return AdaptedBlock(frozen, BlockAdapters(scales, attention, feed_forward))


def _attention_then(attention: nn.MultiheadAttention, matrix: Tensor) -> nn.MultiheadAttention:
    other = twin(attention)
    # The fused kernels of inference read `out_proj.weight` and `bias` alone; any linear layer has them.
    other.out_proj = _followed(attention.out_proj, matrix)  # type: ignore[assignment]  # torch names a subclass of Linear
    return other


def _scales(scales: nn.Module, attention: nn.MultiheadAttention) -> nn.Module:
    if isinstance(scales, LowRankScales):
        return MergedLowRank(scales, attention)
    pyramid = cast(PyramidScales, scales)
    d = pyramid.weight.shape[1]
    parts = pyramid.matrix().view(-1, d, d)
    weight = torch.einsum("cd,sdk->sck", attention.out_proj.weight.T, parts).flatten(0, 1)
    return MergedPyramid(pyramid.scales, weight, attention.out_proj.bias @ parts.sum(dim=0))
