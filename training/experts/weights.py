"""Weights of experts: fetched by name, and named by what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from training.experts.errors import ExpertError


def weights_digest(model: nn.Module) -> str:
    """sha256 in hex over names, types, shapes and bytes of all parameters and buffers."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@contextmanager
def fetching(what: str, where: str) -> Iterator[None]:
    """Failures of a download or of the files that came end in one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # urllib's, the hubs' and torch's failures are among these
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ExpertError(f"the weights of {what} cannot be fetched from {where}: {why}.") from error
