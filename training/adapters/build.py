"""The modules of a design for a tower of a given shape."""

from dataclasses import dataclass

from torch import Tensor, nn

from training.adapters.attention import PyramidScales
from training.adapters.design import Design
from training.adapters.layers import Bottlenecks, ClipAdapter, Draw, Pyramid, ReverseBottleneck, Stack, Top
from training.adapters.lora import LowRankEnsemble, LowRankScales
from training.adapters.masks import image_windows, text_bands


@dataclass(frozen=True)
class TowerShape:
    """What adapters must know about a tower: `width` of its blocks, how many `blocks`, width of its `embedding`, and
    its positions: `grid` (rows, columns) of patches behind a class token, or `context_length` tokens."""

    width: int
    blocks: int
    embedding: int
    grid: tuple[int, int] | None = None
    context_length: int | None = None


class BlockAdapters(nn.Module):
    """What one block gets; None where nothing is added.

    `scales` takes the place of the attention's output, and is called with the frozen attention, its input and the
    tower's own mask (`attention.PyramidScales`, `lora.LowRankScales`); `attention` maps the attention's output,
    `feed_forward` that of the feed-forward part.
    """

    def __init__(
        self,
        scales: nn.Module | None = None,
        attention: nn.Module | None = None,
        feed_forward: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.scales, self.attention, self.feed_forward = scales, attention, feed_forward


def bands(design: Design, shape: TowerShape) -> Tensor:
    """The masks of a design's scales: bool[s, T, T]."""
    if shape.grid is not None:
        return image_windows(*shape.grid, design.reach("image"))
    if shape.context_length is None:
        raise ValueError("a tower's shape needs a grid or a context length")
    return text_bands(shape.context_length, design.reach("text"))


def block_adapters(design: Design, shape: TowerShape, draw: Draw) -> BlockAdapters:
    """The adapters of one block; drawn from `draw` in a fixed order."""
    attention, feed_forward = (design.where in (place, "both") for place in ("attention", "feed-forward"))
    if design.kind in ("msa", "msa-lo"):
        return BlockAdapters(
            scales=_scales(design, shape, draw) if attention else None,
            feed_forward=_after_scales(design, shape, draw) if feed_forward else None,
        )
    return BlockAdapters(
        attention=_linear(design, shape.width, draw) if attention else None,
        feed_forward=_linear(design, shape.width, draw) if feed_forward else None,
    )


def _scales(design: Design, shape: TowerShape, draw: Draw) -> PyramidScales | LowRankScales:
    masks = bands(design, shape)
    if design.kind == "msa":
        return PyramidScales(shape.width, masks, design.mask, design.init_std, draw)
    return LowRankScales(shape.width, design.rank, masks, design.mask, design.factors, design.branches, draw)


def _after_scales(design: Design, shape: TowerShape, draw: Draw) -> nn.Module:
    if design.kind == "msa":
        return Bottlenecks(shape.width, design.n, design.width, design.init_std, design.activation, draw)
    return LowRankEnsemble(shape.width, design.rank, len(design.scales), design.factors, draw)


def _linear(design: Design, d: int, draw: Draw) -> nn.Module:
    if design.kind == "bottleneck":
        return Bottlenecks(d, design.n, design.width, design.init_std, design.activation, draw)
    kinds = {"pyramid": Pyramid, "reverse-bottleneck": ReverseBottleneck, "mlp": Stack}
    return kinds[design.kind](d, design.n, design.init_std, draw)


def pooled_adapter(design: Design, shape: TowerShape, draw: Draw) -> Top | None:
    """What maps a tower's pooled feature, before its projection."""
    if design.kind != "on-top":
        return None
    return Top(shape.width, shape.blocks * design.n * shape.width // 2, design.init_std, draw)


def embedding_adapter(design: Design, shape: TowerShape, draw: Draw) -> ClipAdapter | None:
    """What maps a tower's embedding."""
    if design.kind != "clip-adapter":
        return None
    return ClipAdapter(shape.embedding, design.width, design.ratio, draw)
