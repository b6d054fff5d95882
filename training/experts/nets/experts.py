"""Experts that were trained here, on scenes: class maps, disparity and normals.

What they know of photographs is what carries over from drawn objects: their classes are those of the scenes, which a
photograph seldom shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch.nn import functional

from training.checkpoint import CheckpointError, load_tensors
from training.config import ConfigError
from training.experts.errors import ExpertError
from training.experts.nets.config import NetConfig, parse_net_config
from training.experts.nets.fit import WEIGHTS, new_net
from training.experts.nets.network import STRIDE
from training.experts.nets.tasks import Task
from training.experts.nets.trained import trained_folder
from training.experts.protocol import Dense, Identity, Pictures
from training.experts.weights import weights_digest

NAMES: Final = {f"scene-{task}": task for task in Task}


class NetExpert:
    """A trained network. Pictures of another size than it was trained on are resized for it, and its answer back.

    Raises `ExpertError` for weights that do not fit the configuration.
    """

    def __init__(self, config: NetConfig, weights: dict[str, torch.Tensor], device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._config = config
        net = new_net(config).eval()
        counters = {name for name, value in net.state_dict().items() if not value.is_floating_point()}
        try:
            missing, unexpected = net.load_state_dict({key: value.float() for key, value in weights.items()}, False)
        except RuntimeError as error:
            raise ExpertError(f"weights of another network than that of scene-{config.task}.") from error
        if set(missing) - counters or unexpected:
            raise ExpertError(f"weights of another network than that of scene-{config.task}.")
        self._identity = Identity(
            f"scene-{config.task}", _version(config), weights_digest(net), config.task.kind, config.classes
        )
        self._net = net.to(self._device).to(memory_format=torch.channels_last)

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def task(self) -> Task:
        return self._config.task

    @torch.inference_mode()
    def __call__(self, images: Pictures) -> Dense:
        """As `Kind` says, for uint8[n, h, w, 3]."""
        planes = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2).float().div(255)
        size = images.shape[1:3]
        seen = _seen_size(size[0], size[1], self._config.side)
        if seen != size:
            planes = functional.interpolate(planes, size=seen, mode="bicubic", antialias=True).clamp(0, 1)
        found = self._net(planes.contiguous(memory_format=torch.channels_last))
        if seen != size:
            found = functional.interpolate(found, size=size, mode="bilinear", antialias=True)
        return self._config.task.answer(found)


def _seen_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Rows and columns that the network sees: the shorter side about `side`, both multiples of its stride."""
    scale = side / min(height, width)
    return max(1, round(height * scale / STRIDE)) * STRIDE, max(1, round(width * scale / STRIDE)) * STRIDE


def _version(config: NetConfig) -> str:
    schedule = config.schedule
    return f"{config.source}, {config.side} pixels, {schedule.epochs} epochs, seed {config.seed}"


def read_weights(folder: Path) -> tuple[NetConfig, dict[str, torch.Tensor], dict[str, Any]]:
    """What a finished training left in `folder`. Raises `ExpertError`."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise ExpertError(f"{path}: no such file; the training in this folder is not finished, or there is none.")
    try:
        tensors, metadata = load_tensors(path)
        return parse_net_config(metadata["config"]), tensors, metadata
    except (CheckpointError, ConfigError, KeyError, OSError, SafetensorError) as error:
        raise ExpertError(f"{path}: not the weights of an expert ({error}).") from error


def load_net_expert(name: str, weights: Path | None, device: torch.device | None = None) -> NetExpert:
    """The expert `name`, one of `NAMES`, from the folder of its training; without one, that which comes with the
    project. Raises `ExpertError`."""
    folder = weights or trained_folder(NAMES[name])
    config, tensors, _ = read_weights(folder)
    if config.task is not NAMES[name]:
        raise ExpertError(f"{folder}: holds scene-{config.task}, not {name}.")
    return NetExpert(config, tensors, device)
