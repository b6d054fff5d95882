"""Training one backbone from scratch: one loop that reads from top to bottom."""

import math
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.batches import Batch, epoch_order, make_batch
from training.checkpoint import CheckpointError, load_checkpoint
from training.config import RunConfig, ScheduleConfig, TextConfig, parse_config
from training.data.captions import all_texts
from training.data.samples import Samples
from training.distributed import World, share_batch_statistics
from training.journal import CHECKPOINT, FINAL, Journal, RunState
from training.losses import contrastive_loss
from training.models.text import TEXT_TOWER, TOKENIZER, encode_texts, is_text, load_text_tower
from training.models.tokenizer import train_tokenizer
from training.models.towers import build_model, preprocessing
from training.rates import warm_cosine

ALONE = World()


def learning_rate(step: int, total_steps: int, schedule: ScheduleConfig) -> float:
    """Linear warm-up to `peak_lr`, then a cosine to zero at `total_steps`."""
    return warm_cosine(step, total_steps, peak=schedule.peak_lr, warmup_steps=schedule.warmup_steps)


def make_optimizer(model: nn.Module, schedule: ScheduleConfig, text_lr_factor: float = 1.0) -> torch.optim.AdamW:
    """AdamW; weights of matrices and kernels decay, gains, biases, embeddings and the logit scale do not.

    Each group carries its `lr_factor`: the text tower's is `text_lr_factor`, everybody else's 1.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = 0.0 if parameter.ndim < 2 or "embedding" in name else schedule.weight_decay
        groups.setdefault((decay, text_lr_factor if is_text(name) else 1.0), []).append(parameter)
    tables = [
        {"params": params, "weight_decay": decay, "lr_factor": factor} for (decay, factor), params in groups.items()
    ]
    return torch.optim.AdamW(tables, lr=schedule.peak_lr, betas=schedule.betas, fused=True)


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of weights and batch statistics, in place.

    The decay rises from 0.1 to `decay`, so that the random start is forgotten within the first steps.
    """
    rate = 1 - min(decay, (1 + step) / (10 + step))
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, rate)
        else:
            average[name].copy_(value)


def batch_loss(model: CLIP, batch: Batch, *, bf16: bool, world: World = ALONE) -> Tensor:
    """Loss of one batch, a scalar. The towers run under bf16 autocast if asked for, the loss in float32.

    `batch` holds this process's share of the images and texts; the loss is that of the whole batch.
    """
    mean, std = preprocessing()
    images = ((batch.images - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        image, text = model.encode_image(images), encode_texts(model, batch.input_ids)
    image, text = (nn.functional.normalize(embedding.float(), dim=-1) for embedding in (image, text))
    pairs = world.gather(image), world.gather(text[batch.text_index])
    return contrastive_loss(*pairs, model.logit_scale.exp(), batch.targets)


def optimise(state: RunState, batch: Batch, lr: float, schedule: ScheduleConfig, world: World = ALONE) -> float:
    """One step of the optimiser and of the average; returns the loss before the step."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
    loss = batch_loss(state.model, batch, bf16=schedule.bf16, world=world)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    world.average_gradients(state.model)
    nn.utils.clip_grad_norm_(state.model.parameters(), schedule.grad_norm)
    state.optimizer.step()
    with torch.no_grad():
        state.model.logit_scale.clamp_(0, math.log(schedule.max_logit_scale))
    update_average(state.average, state.model, state.step, schedule.ema_decay)
    return loss.item()


def run_tokenizer(samples: Samples, context_length: int, vocab_size: int, text: TextConfig) -> Tokenizer:
    """The tokenizer of a run: that of the text tower it starts from, or one trained on every text the run may show."""
    if text.init:
        return Tokenizer.from_file(str(Path(text.init) / TOKENIZER))
    pairs = zip(samples.captions, samples.labels, strict=True)
    texts = (text for captions, label in pairs for text in all_texts(captions, label))
    return train_tokenizer(texts, vocab_size=vocab_size, context_length=context_length)


def start(config: RunConfig, checkpoint: Path) -> RunState:
    """A fresh state, or the one in `checkpoint`. Raises `CheckpointError` if that belongs to another configuration."""
    torch.manual_seed(config.seed)
    model = build_model(config.model).to(memory_format=torch.channels_last).train()
    if config.text.init:
        load_text_tower(model, Path(config.text.init) / TEXT_TOWER)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    state = RunState(model, average, make_optimizer(model, config.schedule, config.text.lr_factor))
    if checkpoint.exists():
        metadata = load_checkpoint(checkpoint, model, average, state.optimizer)
        # Parsed, so that a checkpoint from before a key existed goes on with that key's default.
        if parse_config(metadata["config"], str(checkpoint)) != config:
            raise CheckpointError(f"{checkpoint}: belongs to another configuration; remove it or choose another --out")
        state.step, state.seconds = int(metadata["step"]), float(metadata["seconds"])
    return state


def train(
    config: RunConfig,
    samples: Samples,
    run_dir: Path,
    *,
    progress: bool = True,
    stop_at: int | None = None,
    world: World = ALONE,
) -> RunState:
    """Train `config` on `samples` (its `tower-train` split), going on from a checkpoint in `run_dir` if there is one.

    Leaves the checkpoint, the tokenizer, the curve and, at the end, `final.safetensors` (the weight average) there.
    `stop_at` leaves after that step, as a kill after a checkpoint would. Equal configuration, samples, machine and
    thread count give an equal curve, however often the run was interrupted. The processes of a `world` share every
    batch, and the first of them writes.

    Raises `CheckpointError` if `run_dir` holds another configuration's run or a restored one, `FloatingPointError` if
    the loss is lost.
    """
    if (run_dir / FINAL).exists() and not (run_dir / CHECKPOINT).exists():
        raise CheckpointError(
            f"{run_dir}: holds a run that was restored, not trained; remove it or choose another --out"
        )
    state = start(config, run_dir / CHECKPOINT)
    share_batch_statistics(state.model, world)
    tokenizer = run_tokenizer(samples, state.model.context_length, state.model.vocab_size, config.text)
    schedule, weights = config.schedule, config.data.source_weights
    per_epoch = max(1, len(epoch_order(samples.sources, weights, config.seed, 0)) // schedule.batch_size)
    total = per_epoch * schedule.epochs
    order, order_epoch = np.empty(0, np.int64), -1
    journal = Journal(config, run_dir, state, total, progress=progress, world=world)
    # The fused attention kernels' backward pass is two to three times slower than plain matrix products at this size.
    with journal, sdpa_kernel(SDPBackend.MATH):
        journal.keep_tokenizer(tokenizer)
        while state.step < total:
            epoch, position = divmod(state.step, per_epoch)
            if epoch != order_epoch:
                order, order_epoch = epoch_order(samples.sources, weights, config.seed, epoch), epoch
            chosen = order[position * schedule.batch_size :][: schedule.batch_size]
            side = schedule.image_side(state.step, total)
            batch = make_batch(samples, chosen, tokenizer, config, state.step, side)
            # What the towers draw themselves (dropped patches) must not depend on earlier steps either.
            torch.manual_seed(config.seed + state.step)
            lr = learning_rate(state.step, total, schedule)
            loss = optimise(state, batch.part(world.part(len(chosen))), lr, schedule, world)
            if not math.isfinite(loss):
                raise FloatingPointError(f"{config.name}: the loss is {loss} at step {state.step}")
            journal.record(loss, lr)
            state.step += 1
            if state.step % schedule.checkpoint_steps == 0 or state.step in (total, stop_at):
                journal.keep_checkpoint(len(samples))
            if state.step == stop_at:
                return state
        journal.finish(len(samples))
    return state
