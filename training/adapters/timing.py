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
    """What is timed: `batch` inputs of `tokens` positions, `width` numbers each (ViT-B/16: 197 and 768), and of how
    many `runs` the fastest is taken (the paper averages 10)."""

    batch: int = 32
    tokens: int = 197
    width: int = 768
    runs: int = 100


VIT_B_16 = Load()


def _ensemble(width: int, branches: int, *, parallel: bool) -> LowRankEnsemble:
    ensemble = LowRankEnsemble(width, RANK, branches, "shared", torch.Generator().manual_seed(0))
    ensemble.parallel = parallel
    return ensemble.requires_grad_(False)


@torch.inference_mode()
def table_7(device: torch.device, load: Load = VIT_B_16) -> dict[str, float]:
    """Seconds of the fastest forward pass of the ensemble alone, by form, in the paper's words and order.

    What else is at work on a machine only ever adds to a pass, on shared ones by a multiple; the forms take turns, so
    that all of them meet its quiet moments. Served towers do not pay it at all: there the ensemble is merged into the
    matrix before it (`merging`).
    """
    f = torch.randn(load.batch, load.tokens, load.width, generator=torch.Generator().manual_seed(0)).to(device)
    forms = {
        "One-branch": _ensemble(load.width, 1, parallel=True),
        "Three-branch": _ensemble(load.width, 3, parallel=False),
        "Three-branch (parallel)": _ensemble(load.width, 3, parallel=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(WARM_UP + load.runs):
        for name, ensemble in forms.items():
            seconds = _seconds(ensemble.to(device), f)
            if turn >= WARM_UP:
                taken[name].append(seconds)
    return {name: min(each) for name, each in taken.items()}


def _seconds(run: Callable[[Tensor], Tensor], f: Tensor) -> float:
    _wait(f.device)
    began = time.perf_counter()
    run(f)
    _wait(f.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timing_table(device: torch.device, load: Load = VIT_B_16) -> str:
    """`table_7` as Markdown, in seconds and relative to one branch."""
    seconds = table_7(device, load)
    one = seconds["One-branch"]
    lines = ["| form | seconds | relative |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {name} | {each:.2e} | {each / one:.2f} |" for name, each in seconds.items()])
