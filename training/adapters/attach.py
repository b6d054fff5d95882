"""Adapters attached to a frozen CLIP.

The backbone is not edited: `attach` makes shallow twins of its towers, whose own forward passes then run over wrapped
blocks. Every weight of the backbone is the very same tensor in every `Adapted` made from it, so many of them on one
device cost one backbone's memory.
"""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar, cast

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import ResidualAttentionBlock, TextTransformer, Transformer, VisionTransformer
from torch import Tensor, nn

from training.adapters.build import BlockAdapters, TowerShape, block_adapters, embedding_adapter, pooled_adapter
from training.adapters.design import Design
from training.adapters.errors import AdapterError

Tower = Literal["vision", "language"]
TOWERS: tuple[Tower, ...] = ("vision", "language")
Module = TypeVar("Module", bound=nn.Module)


class AdaptedBlock(nn.Module):
    """A frozen pre-norm transformer block of OpenCLIP with adapters on its two outputs, before they are added."""

    def __init__(self, frozen: ResidualAttentionBlock, adapters: BlockAdapters) -> None:
        super().__init__()
        self.frozen, self.adapters = frozen, adapters

    def get_weight_dtype(self) -> torch.dtype:
        """As OpenCLIP's transformer asks its first block."""
        return cast(torch.dtype, self.frozen.get_weight_dtype())

    def forward(
        self, q_x: Tensor, k_x: Tensor | None = None, v_x: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """float[n, T, d] -> float[n, T, d]; `k_x` and `v_x` are None, as in every self-attention."""
        if k_x is not None or v_x is not None:
            raise AdapterError("adapters are for self-attention alone")
        frozen, adapters = self.frozen, self.adapters
        attended = self._attend(frozen.ln_1(q_x), attn_mask)
        if adapters.attention is not None:
            attended = adapters.attention(attended)
        x: Tensor = q_x + frozen.ls_1(attended)
        fed = frozen.mlp(frozen.ln_2(x))
        if adapters.feed_forward is not None:
            fed = adapters.feed_forward(fed)
        return x + cast(Tensor, frozen.ls_2(fed))

    def _attend(self, x: Tensor, attn_mask: Tensor | None) -> Tensor:
        if self.adapters.scales is None:
            return cast(Tensor, self.frozen.attention(q_x=x, attn_mask=attn_mask))
        return cast(Tensor, self.adapters.scales(self.frozen.attn, x, attn_mask))


class Head(nn.Module):
    """What follows a tower's pooled feature: the adapter on it, the frozen projection, the adapter on the embedding."""

    def __init__(self, pooled: nn.Module | None, projection: nn.Module | None, embedding: nn.Module | None) -> None:
        super().__init__()
        self.pooled, self.projection, self.embedding = pooled, projection, embedding

    def forward(self, f: Tensor) -> Tensor:
        """float[n, d] -> float[n, e]."""
        for step in (self.pooled, self.projection, self.embedding):
            if step is not None:
                f = step(f)
        return f


class Projection(nn.Module):
    """A tower's frozen projection, taken out of the twin so that something can come before it."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, f: Tensor) -> Tensor:
        """float[n, d] -> float[n, e]."""
        return f @ self.weight


class Adapted(nn.Module):
    """A frozen CLIP with adapters; embeddings are not normalised, as OpenCLIP's.

    It stays in evaluation mode whatever `train` says: the towers' random patch dropping belongs to their own training,
    and would take the image masks their places. `logit_scale` is the backbone's own, frozen.
    """

    def __init__(self, clip: CLIP | CustomTextCLIP, design: Design, model: nn.Module, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.design, self.model, self.heads = design, model, heads
        self._frozen = tuple(sorted(clip.state_dict(keep_vars=True).items()))
        self.train(False)

    @property
    def logit_scale(self) -> nn.Parameter:
        """The logarithm of the factor on cosines."""
        return cast(nn.Parameter, self.model.logit_scale)

    def train(self, mode: bool = True) -> "Adapted":
        """Adapters know no modes; the backbone is always evaluated."""
        super().train(False)
        self.training = mode
        return self

    def encode_image(self, image: Tensor) -> Tensor:
        """float32[n, 3, h, w], normalised -> float32[n, e]."""
        return cast(Tensor, self.heads["vision"](self.model.encode_image(image)))  # type: ignore[operator]  # untyped

    def encode_text(self, text: Tensor) -> Tensor:
        """int64[n, L] of the full context length -> float32[n, e]."""
        return cast(Tensor, self.heads["language"](self.model.encode_text(text)))  # type: ignore[operator]  # untyped

    def adapters(self) -> Iterator[tuple[str, nn.Module]]:
        """Everything that was added, by names that start with the tower and do not depend on OpenCLIP's own."""
        for tower in TOWERS:
            for index, block in enumerate(blocks_of(self.model, tower)):
                if isinstance(block, AdaptedBlock):
                    yield f"{tower}.{index}", block.adapters
            head = cast(Head, self.heads[tower])
            for place in ("pooled", "embedding"):
                module = getattr(head, place)
                if module is not None:
                    yield f"{tower}.{place}", module

    def named_adapter_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Trainable parameters by the names of `adapter_state`."""
        for prefix, module in self.adapters():
            yield from module.named_parameters(prefix)

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Everything that training may change."""
        return [parameter for _, parameter in self.named_adapter_parameters()]

    def adapter_state(self) -> dict[str, Tensor]:
        """The adapters' weights alone, detached, on the device they are on."""
        return {name: parameter.detach() for name, parameter in self.named_adapter_parameters()}

    @torch.no_grad()
    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Put weights of the same design in place. Raises `AdapterError`, and then changes nothing, if any is missing,
        too many or of another shape."""
        own = dict(self.named_adapter_parameters())
        if set(own) != set(state):
            names = sorted(set(own) ^ set(state))
            raise AdapterError(f"adapter weights of another design: {len(names)} names differ, {names[0]} among them.")
        for name, parameter in own.items():
            if parameter.shape != state[name].shape:
                shapes = f"{tuple(state[name].shape)}, not {tuple(parameter.shape)}"
                raise AdapterError(f"adapter weights of another backbone or design: {name} is {shapes}.")
        for name, parameter in own.items():
            parameter.copy_(state[name])

    def added(self) -> dict[Tower, int]:
        """Trainable parameters by tower."""
        sizes = [(name, parameter.numel()) for name, parameter in self.named_adapter_parameters()]
        return {tower: sum(size for name, size in sizes if name.startswith(f"{tower}.")) for tower in TOWERS}

    def share(self) -> float:
        """Added parameters relative to all of the backbone's."""
        frozen = sum(value.numel() for _, value in self._frozen if isinstance(value, nn.Parameter))
        return sum(self.added().values()) / frozen

    def frozen_digest(self) -> str:
        """sha256 over the backbone's weights: equal before and after training, and in every `Adapted` of one CLIP."""
        digest = hashlib.sha256()
        for name, value in self._frozen:
            digest.update(name.encode() + str(tuple(value.shape)).encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def twin(module: Module) -> Module:
    """A shallow copy with tables of its own: the same parameters and submodules, which may be replaced one by one."""
    other = copy.copy(module)
    for table in ("_modules", "_parameters", "_buffers"):
        other.__dict__[table] = dict(module.__dict__[table])
    return other


def text_of(model: nn.Module) -> nn.Module:
    """Where a CLIP keeps its text tower: OpenCLIP's plain CLIP spreads it over its own attributes."""
    return cast(nn.Module, model.text) if hasattr(model, "text") else model


def blocks_of(model: nn.Module, tower: Tower) -> tuple[nn.Module, ...]:
    """The blocks of a tower; none for image towers that are no transformers of OpenCLIP."""
    holder = cast(nn.Module, model.visual) if tower == "vision" else text_of(model)
    transformer = getattr(holder, "transformer", None)
    return tuple(transformer.resblocks) if isinstance(transformer, Transformer) else ()


def shape_of(clip: CLIP | CustomTextCLIP, tower: Tower) -> TowerShape:
    """The shape of a tower. Raises `AdapterError` for one that adapters in its blocks do not fit."""
    holder = clip.visual if tower == "vision" else text_of(clip)
    blocks = blocks_of(clip, tower)
    kinds = VisionTransformer if tower == "vision" else (CLIP, TextTransformer)
    if not isinstance(holder, kinds) or not blocks or not all(type(each) is ResidualAttentionBlock for each in blocks):
        raise AdapterError(f"the {tower} tower is not one of OpenCLIP's plain transformers: only clip-adapter fits it.")
    if not holder.transformer.batch_first or getattr(holder, "attn_pool", None) is not None:
        raise AdapterError(f"the {tower} tower pools or orders its tokens in a way that adapters do not know.")
    if getattr(holder, "cls_emb", None) is not None:
        raise AdapterError("the language tower has a class token behind its text, which the scales do not know.")
    width, count, embedding = holder.transformer.width, len(blocks), embedding_width(clip)
    if tower == "vision":
        return TowerShape(width, count, embedding, grid=holder.grid_size)
    return TowerShape(width, count, embedding, context_length=clip.context_length)


def embedding_width(clip: CLIP | CustomTextCLIP) -> int:
    """Width of the embedding that both towers share."""
    projection = text_of(clip).text_projection
    if isinstance(projection, nn.Linear):
        return projection.out_features
    if not isinstance(projection, Tensor):
        raise AdapterError("the language tower has no projection into the shared space.")
    return projection.shape[1]


def attach(clip: CLIP | CustomTextCLIP, design: Design, *, seed: int) -> Adapted:
    """`clip` with the adapters of `design`, drawn from `seed`, on the device of `clip`.

    All parameters of `clip` stop requiring gradients, and it goes into evaluation mode; nothing else happens to it.
    Move `clip` to its device before: moving one `Adapted` would move the weights of all.
    Raises `AdapterError` for a tower that the design does not fit.
    """
    clip.requires_grad_(False).eval()
    device = clip.logit_scale.device
    draw = None if device.type == "meta" else torch.Generator().manual_seed(seed)
    model = twin(clip)
    model.visual = twin(clip.visual)
    if hasattr(clip, "text"):
        model.text = twin(clip.text)
    heads = nn.ModuleDict()
    for tower in TOWERS:
        adapted = design.towers in ("both", tower) and design.kind != "none"
        heads[tower] = _adapt_tower(clip, model, tower, design, draw) if adapted else Head(None, None, None)
    return Adapted(clip, design, model, heads).to(device)


def _adapt_tower(
    clip: CLIP | CustomTextCLIP, model: nn.Module, tower: Tower, design: Design, draw: torch.Generator | None
) -> Head:
    """Wrap the blocks of `model`, a twin of `clip`, or give back the head that follows its tower."""
    if design.kind == "clip-adapter":
        shape = TowerShape(width=0, blocks=0, embedding=embedding_width(clip))
        return Head(None, None, embedding_adapter(design, shape, draw))
    shape = shape_of(clip, tower)
    holder = cast(nn.Module, model.visual) if tower == "vision" else text_of(model)
    if design.kind == "on-top":
        name = "proj" if tower == "vision" else "text_projection"
        projection = getattr(holder, name)
        setattr(holder, name, None)
        frozen = projection if isinstance(projection, nn.Module) else Projection(projection)
        return Head(pooled_adapter(design, shape, draw), frozen, None)
    transformer = twin(cast(Transformer, holder.transformer))
    wrapped = [AdaptedBlock(block, block_adapters(design, shape, draw)) for block in transformer.resblocks]
    transformer.resblocks = nn.ModuleList(wrapped)
    holder.transformer = transformer
    return Head(None, None, None)
