"""Distilling a sentence encoder into the zoo's text tower: what words mean, before any picture is seen."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from training.checkpoint import save_tensors
from training.models.sentences import principal_directions
from training.models.text import TEXT_TOWER, TOKENIZER, encode_texts, is_text, text_tensors
from training.models.tokenizer import encode, train_tokenizer
from training.models.towers import build_model

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DistilConfig:
    """One distillation: the text tower of zoo model `model`, trained for `steps` batches of `batch_size` texts."""

    model: str
    steps: int = 3000
    batch_size: int = 512
    peak_lr: float = 2e-3
    warmup_steps: int = 200
    seed: int = 0


def targets(teacher: Floats, width: int) -> Floats:
    """The teacher's embeddings in the student's width, unit rows: float32[n, width]."""
    projected = teacher @ principal_directions(teacher, width)
    return np.asarray(projected / np.linalg.norm(projected, axis=1, keepdims=True), dtype=np.float32)


def distillation_loss(model: CLIP, ids: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine between the student's embeddings and their targets, a scalar."""
    with torch.autocast("cpu", torch.bfloat16):
        embedding = encode_texts(model, ids)
    return (1 - nn.functional.cosine_similarity(embedding.float(), target, dim=-1)).mean()


def distil(config: DistilConfig, texts: Sequence[str], teacher: Floats, out: Path, *, progress: bool = True) -> float:
    """Train a text tower to place `texts` where `teacher` (float32[n, d], unit rows) does; returns the last loss.

    Leaves the tower's weights and its tokenizer, trained on the same texts, in `out`.
    """
    torch.manual_seed(config.seed)
    model = build_model(config.model).train()
    tokenizer = train_tokenizer(texts, vocab_size=model.vocab_size, context_length=model.context_length)
    ids = torch.from_numpy(encode(tokenizer, texts))
    goal = torch.from_numpy(targets(teacher, model.text_projection.shape[1]))
    parameters = [parameter for name, parameter in model.named_parameters() if is_text(name)]
    optimizer = torch.optim.AdamW(parameters, lr=config.peak_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    rng, began, smooth = np.random.default_rng(config.seed), time.monotonic(), 1.0
    bar = tqdm(total=config.steps, desc="distil", unit="step", disable=not progress, mininterval=5)
    with bar, sdpa_kernel(SDPBackend.MATH):
        for step in range(config.steps):
            chosen = torch.from_numpy(rng.integers(0, len(texts), config.batch_size))
            rate = min(1.0, (step + 1) / config.warmup_steps) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
            optimizer.param_groups[0]["lr"] = config.peak_lr * rate
            loss = distillation_loss(model, ids[chosen], goal[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            smooth += 0.02 * (loss.item() - smooth)
            bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
            bar.update()
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / TOKENIZER), pretty=False)
    seconds = round(time.monotonic() - began, 1)
    metadata = {"model": config.model, "texts": len(texts), "steps": config.steps, "seconds": seconds, "loss": smooth}
    save_tensors(out / TEXT_TOWER, text_tensors(model), metadata)
    return smooth
