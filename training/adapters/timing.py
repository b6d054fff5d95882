"""How long the ensemble after the feed-forward part takes: the paper's table 7."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.adapters.lora import LowRankEnsemble

RANK = 16
WARM_UP = 10


@dataclass(frozen=True)
class Load:
    """What is timed: `batch` inputs of `tokens` positions, `width` numbers each (ViT-B/16: 197 and 768), and how many
    `runs` are averaged (the paper's 10)."""

    batch: int = 32
    tokens: int = 197
    width: int = 768
    runs: int = 10


VIT_B_16 = Load()


def _ensemble(width: int, branches: int, *, parallel: bool) -> LowRankEnsemble:
    ensemble = LowRankEnsemble(width, RANK, branches, "shared", torch.Generator().manual_seed(0))
    ensemble.parallel = parallel
    return ensemble.requires_grad_(False)


@torch.inference_mode()
def table_7(device: torch.device, load: Load = VIT_B_16) -> dict[str, float]:
    """Mean seconds of one forward pass of the ensemble alone, by form, in the paper's words and order.

    Served towers do not pay it at all: there the ensemble is merged into the matrix before it (`merging`).
    """
    f = torch.randn(load.batch, load.tokens, load.width, generator=torch.Generator().manual_seed(0)).to(device)
    forms = {
        "One-branch": _ensemble(load.width, 1, parallel=True),
        "Three-branch": _ensemble(load.width, 3, parallel=False),
        "Three-branch (parallel)": _ensemble(load.width, 3, parallel=True),
    }
    return {name: _mean_seconds(ensemble.to(device), f, load.runs) for name, ensemble in forms.items()}


def _mean_seconds(run: Callable[[Tensor], Tensor], f: Tensor, runs: int) -> float:
    for _ in range(WARM_UP):
        run(f)
    _wait(f.device)
    began = time.perf_counter()
    for _ in range(runs):
        run(f)
    _wait(f.device)
    return (time.perf_counter() - began) / runs


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timing_table(device: torch.device, load: Load = VIT_B_16) -> str:
    """`table_7` as Markdown, in seconds and relative to one branch."""
    seconds = table_7(device, load)
    one = seconds["One-branch"]
    lines = ["| form | seconds | relative |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {name} | {each:.2e} | {each / one:.2f} |" for name, each in seconds.items()])
