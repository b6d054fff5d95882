"""Training state in one safetensors file: weights, weight average, optimiser, and where the run stands."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint does not belong to this run, or cannot be read."""


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write through a temporary file, so that a kill leaves either the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    save_file(
        {key: value.detach().contiguous() for key, value in tensors.items()}, partial, {"run": json.dumps(metadata)}
    )
    os.replace(partial, path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file that `save_tensors` wrote. Raises `CheckpointError` for another one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get("run")
            if metadata is None:
                raise CheckpointError(f"{path}: not a file of this package (no run metadata)")
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, json.loads(metadata)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); remove it") from error


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments and counters under `<parameter index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`; rates and other settings stay those of `optimizer`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        # Files hold plain row-major tensors. The fused kernels walk memory without looking at strides, so moments must
        # lie as their parameters do (channels last, for kernels); otherwise values change places without a word.
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_checkpoint(
    path: Path,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    metadata: dict[str, Any],
) -> None:
    """Everything a killed run needs to go on as if it had not been killed."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.items()}
    tensors |= {f"optimizer.{key}": value for key, value in optimizer_tensors(optimizer).items()}
    save_tensors(path, tensors, metadata)


def load_checkpoint(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore all three in place; returns the metadata."""
    tensors, metadata = load_tensors(path)
    model.load_state_dict(_with_prefix(tensors, "model."))
    for key, value in _with_prefix(tensors, "average.").items():
        average[key].copy_(value)
    restore_optimizer(optimizer, _with_prefix(tensors, "optimizer."))
    return metadata


def load_average(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weight average in a checkpoint or in a finished run's file, and its metadata."""
    tensors, metadata = load_tensors(path)
    return _with_prefix(tensors, "average."), metadata
