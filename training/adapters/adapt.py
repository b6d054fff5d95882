"""Fitting an adapter: the one loop, used by `python -m training adapt` and by the grid of the evaluation."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.adapters.adapt_config import AdaptConfig, AdaptSchedule
from training.adapters.attach import Adapted
from training.adapters.pairs import Integers, Pairs, matching_loss
from training.batches import epoch_order, step_generator
from training.data.augment import augment, soften
from training.distributed import World
from training.models.towers import preprocessing
from training.rates import warm_cosine

ALONE = World()


@dataclass
class FitState:
    """What changes while a fit goes on: the adapter's weights, the optimiser, steps done."""

    adapted: Adapted
    optimizer: torch.optim.Optimizer
    step: int = 0


Heard = Callable[[FitState, float, float], bool]
"""Told of every step: the state after it, the loss before it, its rate. Returns whether to go on."""


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def make_optimizer(adapted: Adapted, schedule: AdaptSchedule) -> torch.optim.AdamW:
    """AdamW over the adapter's weights alone; matrices decay, everything else does not."""
    parameters = list(adapted.adapter_parameters())
    groups = [
        {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    return torch.optim.AdamW(filled, lr=schedule.peak_lr, betas=schedule.betas, fused=True)


def attention_kernels(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the fused attention kernels' backward pass is two to three times slower than plain matrix products."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def normalised(images: Tensor) -> Tensor:
    """Pictures float32[n, 3, h, w] in 0..1 as the zoo's towers take them."""
    mean, std = preprocessing()
    return (images - mean.to(images.device)) / std.to(images.device)


def embed_pictures(adapted: Adapted, images: Tensor) -> Tensor:
    """Unit rows float32[n, d] of uint8[n, h, w, 3], softened as pictures are when a tower serves."""
    planes = soften(images.permute(0, 3, 1, 2).float() / 255)
    return nn.functional.normalize(adapted.encode_image(normalised(planes)).float(), dim=-1)


def embed_texts(adapted: Adapted, ids: Tensor) -> Tensor:
    """Unit rows float32[n, d] of int64[n, L]."""
    return nn.functional.normalize(adapted.encode_text(ids).float(), dim=-1)


def step_loss(state: FitState, pairs: Pairs, rows: Integers, config: AdaptConfig, world: World = ALONE) -> Tensor:
    """The loss of one batch, the pictures `rows`, a scalar: each with one text drawn, repeated texts encoded once.

    What is random follows from the seed and the step. Processes of a `world` embed a share each.
    """
    rng = np.random.default_rng((config.seed, state.step, 1))
    texts = pairs.draw(rows, rng, config.template_share)
    device = pairs.images.device
    mine = world.part(len(rows))
    at = torch.from_numpy(rows).to(device)
    pictures = augment(pairs.images[at], config.augmentation, step_generator(config.seed, state.step))[mine]
    distinct, place = np.unique(texts[mine], return_inverse=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.schedule.bf16):
        image = state.adapted.encode_image(normalised(pictures))
        text = state.adapted.encode_text(pairs.ids[torch.from_numpy(distinct).to(device)])
    image, text = (nn.functional.normalize(each.float(), dim=-1) for each in (image, text))
    own = text[torch.from_numpy(place).to(device)]
    match = pairs.matches(at, torch.from_numpy(texts).to(device))
    return matching_loss(world.gather(image), world.gather(own), state.adapted.logit_scale.exp(), match)


def take_step(state: FitState, loss: Tensor, rate: float, schedule: AdaptSchedule, world: World = ALONE) -> None:
    """One step of the optimiser down the gradient of `loss`."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    world.average_gradients(state.adapted)
    nn.utils.clip_grad_norm_(list(state.adapted.adapter_parameters()), schedule.grad_norm)
    state.optimizer.step()


def fit(state: FitState, pairs: Pairs, config: AdaptConfig, heard: Heard, world: World = ALONE) -> None:
    """Fit the adapter of `state` to `pairs`, from the step where it stands to the last.

    Raises `FloatingPointError` if the loss is lost.
    """
    schedule = config.schedule
    per_epoch, total = schedule.steps(len(pairs))
    order, order_epoch = np.empty(0, np.int64), -1
    with attention_kernels(pairs.images.device):
        while state.step < total:
            epoch, position = divmod(state.step, per_epoch)
            if epoch != order_epoch:
                order, order_epoch = epoch_order(pairs.sources, {}, config.seed, epoch), epoch
            rows = order[position * schedule.batch_size :][: schedule.batch_size]
            rate = warm_cosine(state.step, total, peak=schedule.peak_lr, warmup_steps=schedule.warmup_steps)
            loss = step_loss(state, pairs, rows, config, world)
            take_step(state, loss, rate, schedule, world)
            value = loss.item()
            if not math.isfinite(value):
                raise FloatingPointError(f"{config.design.name}: the loss is {value} at step {state.step}")
            state.step += 1
            if not heard(state, value, rate):
                return
