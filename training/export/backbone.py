"""One backbone into a model repository."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from service.model_config import ImageTowerConfig, Preprocessing, TextTowerConfig, render_config
from training.export.cost import gflops
from training.export.errors import ExportError
from training.export.graph import Parity, checked_parity, export_graph, parity, store_half
from training.export.towers import ImageTower, TextTower
from training.models.tokenizer import encode

TOKENIZER_FILE = "tokenizer.json"
PROBE_TEXTS = ("a photo of a dog", "two people ride bicycles along the sea", "x", "ceci n'est pas une pipe, 1929!")


@dataclass(frozen=True)
class Backbone:
    """A model with everything its configuration files must say. `logit_scale` is the factor on cosines (exp of the
    learnt parameter); `provenance` is one line."""

    name: str
    family: str
    model: nn.Module
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    context_length: int
    logit_scale: float
    provenance: str


@dataclass(frozen=True)
class TowerGraph:
    """An exported tower: the graph to be written, its cost per item, and how far it is from torch: as computed in
    float32 (refused above the limit) and as stored (the same unless weights are stored in half precision)."""

    model: onnx.ModelProto
    embedding_dim: int
    gflops: float
    parity: Parity
    stored_parity: Parity


@dataclass(frozen=True)
class BackboneGraphs:
    """Both towers of a backbone."""

    image: TowerGraph
    text: TowerGraph


def _export_tower(tower: nn.Module, batch: Tensor, input_name: str, *, half: bool) -> TowerGraph:
    graph = export_graph(tower, batch[:2], input_name)
    exact = checked_parity(tower, graph, batch)
    stored = store_half(graph) if half else graph
    with torch.no_grad():
        width = tower(batch[:1]).shape[1]
    return TowerGraph(
        model=stored,
        embedding_dim=int(width),
        gflops=round(gflops(tower, batch[:1]), 6),
        parity=exact,
        stored_parity=parity(tower, stored, batch) if half else exact,
    )


def export_graphs(backbone: Backbone, *, half: bool) -> BackboneGraphs:
    """Both towers as ONNX, checked against torch on random pictures and a few texts.

    `half` stores weights as float16. Raises `ExportError` where a graph strays from torch.
    """
    backbone.model.eval()
    size = backbone.preprocessing.image_size
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 256, (8, size, size, 3), dtype=np.uint8))
    ids = torch.from_numpy(encode(backbone.tokenizer, PROBE_TEXTS))
    if ids.shape[1] != backbone.context_length:
        raise ExportError(f"The tokenizer gives {ids.shape[1]} ids, the text tower takes {backbone.context_length}.")
    image = ImageTower(backbone.model, backbone.preprocessing.mean, backbone.preprocessing.std).eval()
    return BackboneGraphs(
        image=_export_tower(image, pictures, "image", half=half),
        text=_export_tower(TextTower(backbone.model).eval(), ids, "input_ids", half=half),
    )


def tower_configs(
    backbone: Backbone, graphs: BackboneGraphs, temperature: float
) -> tuple[ImageTowerConfig | TextTowerConfig, ...]:
    """What `config.pbtxt` says about the image tower and about the text tower."""
    image = ImageTowerConfig(
        backbone=backbone.name,
        family=backbone.family,
        embedding_dim=graphs.image.embedding_dim,
        logit_scale=backbone.logit_scale,
        temperature=temperature,
        gflops=graphs.image.gflops,
        sha256=_digest(graphs.image.model),
        provenance=backbone.provenance,
        preprocessing=backbone.preprocessing,
    )
    text = TextTowerConfig(
        backbone=backbone.name,
        family=backbone.family,
        embedding_dim=graphs.text.embedding_dim,
        logit_scale=backbone.logit_scale,
        temperature=temperature,
        gflops=graphs.text.gflops,
        sha256=_digest(graphs.text.model),
        provenance=backbone.provenance,
        tokenizer=TOKENIZER_FILE,
        context_length=backbone.context_length,
    )
    return image, text


def write_backbone(
    repository: Path,
    backbone: Backbone,
    *,
    half: bool,
    fit_temperature: Callable[[Backbone, BackboneGraphs], float] | None = None,
) -> BackboneGraphs:
    """Export `backbone` into `repository`, replacing what is there under its name.

    `fit_temperature` sees the graphs as they will be served; without it the temperature is 1. Raises `ExportError`.
    """
    graphs = export_graphs(backbone, half=half)
    temperature = 1.0 if fit_temperature is None else fit_temperature(backbone, graphs)
    image, text = tower_configs(backbone, graphs, temperature)
    towers: tuple[tuple[ImageTowerConfig | TextTowerConfig, TowerGraph], ...] = (
        (image, graphs.image),
        (text, graphs.text),
    )
    for config, graph in towers:
        folder = repository / config.model_name
        (folder / "1").mkdir(parents=True, exist_ok=True)
        _replace(folder / "1" / "model.onnx", graph.model.SerializeToString(deterministic=True))
        if isinstance(config, TextTowerConfig):
            _replace(folder / TOKENIZER_FILE, backbone.tokenizer.to_str().encode())
        # Last: the digest in it makes a half-written folder unloadable instead of wrong.
        _replace(folder / "config.pbtxt", render_config(config).encode())
    return graphs


def _digest(model: onnx.ModelProto) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
