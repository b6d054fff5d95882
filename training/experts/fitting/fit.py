"""Fine-tuning a CLIP by captions and experts together: the one loop of CLIPTeX, and of CLIP-FT with experts off."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from training.adapters.adapt import attention_kernels, normalised
from training.adapters.pairs import matching_loss
from training.distributed import World
from training.experts.errors import ExpertError
from training.experts.fitting.ahead import batches
from training.experts.fitting.config import FitConfig, FitSchedule
from training.experts.fitting.feed import DenseBatch, Feed
from training.experts.fitting.heads import DenseHeads
from training.experts.fitting.losses import dense_terms, known_counts, total_loss
from training.experts.maps import map_shape, tower_features

ALONE = World()


@dataclass
class FitState:
    """What changes while a fit goes on: the model, the heads (None without an expert), the optimiser, steps done."""

    model: CLIP | CustomTextCLIP
    heads: DenseHeads | None
    optimizer: torch.optim.Optimizer
    step: int = 0

    def parameters(self) -> list[nn.Parameter]:
        """Everything that is trained."""
        return [*self.model.parameters(), *(self.heads.parameters() if self.heads else ())]


@dataclass(frozen=True)
class Taken:
    """One step: the loss before it, its terms by name (unweighted), its learning rate."""

    loss: float
    terms: dict[str, float]
    rate: float


Heard = Callable[[FitState, Taken], bool]
"""Told of every step, with the state after it. Returns whether to go on."""


def start_fit(model: CLIP | CustomTextCLIP, config: FitConfig) -> FitState:
    """The state before the first step, on the model's device: heads drawn from the configuration's seed, all weights of
    the model to be trained. Raises `ExpertError` for sizes of pictures that the image tower does not take."""
    shapes = [map_shape(model.visual, side) for side in config.sides]
    heads = None
    if config.tasks.any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            width = config.width or shapes[0].channels
            heads = DenseHeads(shapes[0].channels, config.tasks, layers=config.layers, width=width)
        heads.to(model.logit_scale.device).train()
    model.requires_grad_(True).train()
    return FitState(model, heads, make_optimizer(model, heads, config.schedule))


def make_optimizer(model: nn.Module, heads: nn.Module | None, schedule: FitSchedule) -> torch.optim.AdamW:
    """AdamW; matrices and kernels decay; gains, biases, embeddings and the logit scale do not."""
    named = [*model.named_parameters(), *(heads.named_parameters() if heads is not None else ())]
    plain = [
        value
        for name, value in named
        if value.ndim < 2 or "embedding" in name or "embed" in name.rpartition(".")[2]  # timm: `pos_embed`
    ]
    kept = {id(value) for value in plain}
    groups = [
        {"params": [value for _, value in named if id(value) not in kept], "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.peak_lr, betas=schedule.betas, fused=True)


def batch_terms(state: FitState, batch: DenseBatch, config: FitConfig, world: World = ALONE) -> dict[str, Tensor]:
    """Every term of equation 1 that is switched on and has something to learn from, unweighted scalars by name.

    Of a batch that a `world` shares, the contrastive term is that of all pairs, on every process; the dense terms are
    such that their means over the processes are those of all pixels.
    """
    device, weights = batch.images.device, config.weights
    terms: dict[str, Tensor] = {}
    with torch.autocast(device.type, torch.bfloat16, enabled=config.schedule.bf16):
        seen = tower_features(state.model.visual, normalised(batch.images))
        read = state.model.encode_text(batch.ids) if weights.clip > 0 else None
    if read is not None:
        image, text = (nn.functional.normalize(each.float(), dim=-1) for each in (seen.embedding, read))
        pairs = world.gather(image), world.gather(text[batch.own])
        terms["clip"] = matching_loss(*pairs, state.model.logit_scale.exp(), batch.match)
    if state.heads is not None:
        size = cast(tuple[int, int], tuple(batch.images.shape[-2:]))
        balance = torch.tensor(config.class_weights, device=device) if config.class_weights else None
        found = state.heads(seen.places, size)
        dense = dense_terms(found, batch.targets, class_weights=balance, depth_form=config.depth_form)
        if world.size > 1:
            counts = known_counts(batch.targets, class_weights=balance, depth_form=config.depth_form)
            dense = {name: value * _share(counts[name].to(value), world) for name, value in dense.items()}
        terms |= dense
    if not terms:
        raise ExpertError("no term of the loss is left: captions are switched off, and no expert has targets.")
    return terms


def _share(count: Tensor, world: World) -> Tensor:
    """What a mean over `count` pixels is to be multiplied by, so that the mean over all processes is that over all."""
    return count / world.average(count).clamp(min=1e-6)


def take_step(state: FitState, batch: DenseBatch, rate: float, config: FitConfig, world: World = ALONE) -> Taken:
    """One step of the optimiser. Raises `FloatingPointError`, before anything changes, if the loss is lost."""
    terms = batch_terms(state, batch, config, world)
    loss = total_loss(terms, config.weights)
    whole, *values = world.average(torch.stack([loss, *terms.values()])).tolist()
    if not math.isfinite(whole):
        raise FloatingPointError(f"{config.backbone}: the loss is {whole} at step {state.step}")
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    for module in (state.model, state.heads):
        if module is not None:
            world.average_gradients(module)
            # Each by itself: heads would take a part of a common norm, which without experts is all the towers'.
            nn.utils.clip_grad_norm_(module.parameters(), config.schedule.grad_norm)
    state.optimizer.step()
    with torch.no_grad():
        state.model.logit_scale.clamp_(0, math.log(config.schedule.max_logit_scale))
    return Taken(whole, dict(zip(terms, values, strict=True)), rate)


def fit(
    state: FitState, feed: Feed, config: FitConfig, heard: Heard, world: World = ALONE, *, ahead: bool = False
) -> None:
    """Fit from the step where `state` stands to the last; see `batches` for `ahead`.

    Raises `FloatingPointError` if the loss is lost, `ExpertError` if nothing is switched on that has targets.
    """
    total = config.schedule.steps(len(feed))[1]
    prepared = batches(feed, config, state.step, world, ahead=ahead)
    with attention_kernels(state.model.logit_scale.device), contextlib.closing(prepared):
        for batch in prepared:
            # What the towers draw themselves (dropped paths) must not depend on earlier steps.
            torch.manual_seed(config.seed + state.step)
            taken = take_step(state, batch, config.schedule.rate(state.step, total), config, world)
            state.step += 1
            if not heard(state, taken):
                return
