"""Training one backbone from scratch: one loop that reads from top to bottom."""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from training.batches import Batch, epoch_order, make_batch
from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, save_tensors
from training.config import RunConfig, ScheduleConfig
from training.curve import format_row, plot_curve, start_curve
from training.data.captions import all_texts
from training.data.samples import Samples
from training.losses import contrastive_loss
from training.models.tokenizer import train_tokenizer
from training.models.towers import build_model, preprocessing

CHECKPOINT = "checkpoint.safetensors"
FINAL = "final.safetensors"
TOKENIZER = "tokenizer.json"
CURVE = "curve.csv"
PLOT = "curve.png"


@dataclass
class RunState:
    """What changes while a run goes on: weights, their moving average, the optimiser, steps done, seconds taken."""

    model: CLIP
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def learning_rate(step: int, total_steps: int, schedule: ScheduleConfig) -> float:
    """Linear warm-up to `peak_lr`, then a cosine to zero at `total_steps`."""
    warmup = min(schedule.warmup_steps, max(1, total_steps // 4))
    if step < warmup:
        return schedule.peak_lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return schedule.peak_lr * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: nn.Module, schedule: ScheduleConfig) -> torch.optim.AdamW:
    """AdamW; weights of matrices and kernels decay, gains, biases, embeddings and the logit scale do not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (free if parameter.ndim < 2 or "embedding" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.peak_lr, betas=schedule.betas, fused=True)


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


def batch_loss(model: CLIP, batch: Batch, *, bf16: bool) -> Tensor:
    """Loss of one batch, a scalar. The towers run under bf16 autocast if asked for, the loss in float32."""
    mean, std = preprocessing()
    images = ((batch.images - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        image, text = model.encode_image(images), model.encode_text(batch.input_ids)
    image, text = (nn.functional.normalize(embedding.float(), dim=-1) for embedding in (image, text))
    return contrastive_loss(image, text[batch.text_index], model.logit_scale.exp(), batch.targets)


def optimise(state: RunState, batch: Batch, lr: float, schedule: ScheduleConfig) -> float:
    """One step of the optimiser and of the average; returns the loss before the step."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    loss = batch_loss(state.model, batch, bf16=schedule.bf16)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    nn.utils.clip_grad_norm_(state.model.parameters(), schedule.grad_norm)
    state.optimizer.step()
    with torch.no_grad():
        state.model.logit_scale.clamp_(0, math.log(schedule.max_logit_scale))
    update_average(state.average, state.model, state.step, schedule.ema_decay)
    return loss.item()


def run_tokenizer(samples: Samples, context_length: int, vocab_size: int) -> Tokenizer:
    """The tokenizer of a run, trained on every text the run may show."""
    pairs = zip(samples.captions, samples.labels, strict=True)
    texts = (text for captions, label in pairs for text in all_texts(captions, label))
    return train_tokenizer(texts, vocab_size=vocab_size, context_length=context_length)


def start(config: RunConfig, checkpoint: Path) -> RunState:
    """A fresh state, or the one in `checkpoint`. Raises `CheckpointError` if that belongs to another configuration."""
    torch.manual_seed(config.seed)
    model = build_model(config.model).to(memory_format=torch.channels_last).train()
    average = {name: value.clone() for name, value in model.state_dict().items()}
    state = RunState(model, average, make_optimizer(model, config.schedule))
    if checkpoint.exists():
        metadata = load_checkpoint(checkpoint, model, average, state.optimizer)
        if metadata["config"] != json.loads(json.dumps(asdict(config))):
            raise CheckpointError(f"{checkpoint}: belongs to another configuration; remove it or choose another --out")
        state.step, state.seconds = int(metadata["step"]), float(metadata["seconds"])
    return state


def describe(config: RunConfig, state: RunState, samples: Samples) -> dict[str, Any]:
    """Metadata of a run's files: the configuration, steps done, seconds taken and the number of images."""
    return {"config": asdict(config), "step": state.step, "seconds": round(state.seconds, 1), "images": len(samples)}


def train(
    config: RunConfig, samples: Samples, run_dir: Path, *, progress: bool = True, stop_at: int | None = None
) -> RunState:
    """Train `config` on `samples` (its `tower-train` split), going on from a checkpoint in `run_dir` if there is one.

    Leaves the checkpoint, the tokenizer, the curve and, at the end, `final.safetensors` (the weight average) there.
    `stop_at` leaves after that step, as a kill after a checkpoint would. Equal configuration, samples, machine and
    thread count give an equal curve, however often the run was interrupted.

    Raises `CheckpointError` if `run_dir` holds another configuration's run, `FloatingPointError` if the loss is lost.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    state = start(config, run_dir / CHECKPOINT)
    tokenizer = run_tokenizer(samples, state.model.context_length, state.model.vocab_size)
    tokenizer.save(str(run_dir / TOKENIZER), pretty=False)
    start_curve(run_dir / CURVE, before_step=state.step)

    schedule, weights = config.schedule, config.data.source_weights
    per_epoch = max(1, len(epoch_order(samples.sources, weights, config.seed, 0)) // schedule.batch_size)
    total = per_epoch * schedule.epochs
    began, order, order_epoch = time.monotonic() - state.seconds, np.empty(0, np.int64), -1
    bar = tqdm(total=total, initial=state.step, desc=config.name, unit="step", disable=not progress, mininterval=5)
    # The fused attention kernels' backward pass is two to three times slower than plain matrix products at this size.
    with bar, (run_dir / CURVE).open("a", encoding="utf-8", buffering=1) as curve, sdpa_kernel(SDPBackend.MATH):
        while state.step < total:
            epoch, position = divmod(state.step, per_epoch)
            if epoch != order_epoch:
                order, order_epoch = epoch_order(samples.sources, weights, config.seed, epoch), epoch
            chosen = order[position * schedule.batch_size :][: schedule.batch_size]
            batch = make_batch(samples, chosen, tokenizer, config, state.step)
            # What the towers draw themselves (dropped patches) must not depend on earlier steps either.
            torch.manual_seed(config.seed + state.step)
            lr = learning_rate(state.step, total, schedule)
            loss = optimise(state, batch, lr, schedule)
            if not math.isfinite(loss):
                raise FloatingPointError(f"{config.name}: the loss is {loss} at step {state.step}")

            state.seconds = time.monotonic() - began
            curve.write(format_row(state.step, loss, lr, state.model.logit_scale.exp().item(), state.seconds))
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            state.step += 1
            if state.step % schedule.checkpoint_steps == 0 or state.step in (total, stop_at):
                metadata = describe(config, state, samples)
                save_checkpoint(run_dir / CHECKPOINT, state.model, state.average, state.optimizer, metadata)
            if state.step == stop_at:
                return state
    averages = {f"average.{name}": value for name, value in state.average.items()}
    save_tensors(run_dir / FINAL, averages, describe(config, state, samples))
    plot_curve(run_dir / CURVE, run_dir / PLOT, config.name)
    return state
