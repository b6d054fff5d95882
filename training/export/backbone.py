"""One backbone: both towers as checked graphs, and what their configuration files say."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from service.model_config import ImageTowerConfig, Preprocessing, TextTowerConfig, render_config
from service.policies import Votes
from training.export.cost import gflops
from training.export.errors import ExportError
from training.export.graph import Parity, checked_parity, export_graph, parity, store_half
from training.export.precision import Precision
from training.export.quantize import CalibrationPictures, quantize_image_tower
from training.export.repository import Folders, replace_folders
from training.export.towers import ImageTower, TextTower
from training.models.tokenizer import encode

TOKENIZER_FILE = "tokenizer.json"
PROBE_TEXTS = ("a photo of a dog", "two people ride bicycles along the sea", "x", "ceci n'est pas une pipe, 1929!")


@dataclass(frozen=True)
class Backbone:
    """A model with everything its configuration files must say. `logit_scale` is the factor on cosines (exp of the
    learnt parameter); `provenance` is one line; `softened`: the image tower softens its pictures (`augment.soften`);
    `votes`: whether it is a member of the committee; `adapted_to`: sources that a variant's adapter was fitted to."""

    name: str
    family: str
    model: nn.Module
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    context_length: int
    logit_scale: float
    provenance: str
    softened: bool = False
    votes: Votes = "by_default"
    adapted_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class TowerGraph:
    """An exported tower: the graph to be written, its cost per item, and two distances.

    `parity` is that of the float32 graph from torch, refused above the limit. `stored_parity` is that of the graph as
    stored: from torch, or for int8 from the float32 graph on pictures that did not set its scales.
    """

    model: onnx.ModelProto
    precision: Precision
    embedding_dim: int
    gflops: float
    parity: Parity
    stored_parity: Parity


@dataclass(frozen=True)
class BackboneGraphs:
    """Both towers of a backbone."""

    image: TowerGraph
    text: TowerGraph


TemperatureFitter = Callable[[Backbone, BackboneGraphs], float]


def export_graphs(
    backbone: Backbone, precision: Precision = "float32", calibration: CalibrationPictures | None = None
) -> BackboneGraphs:
    """Both towers as ONNX, checked against torch on random pictures and a few texts.

    `calibration` is needed for `int8` and unused otherwise. Raises `ExportError` where a graph strays from torch.
    """
    backbone.model.eval()
    size = backbone.preprocessing.image_size
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 256, (8, size, size, 3), dtype=np.uint8))
    ids = torch.from_numpy(encode(backbone.tokenizer, PROBE_TEXTS))
    if ids.shape[1] != backbone.context_length:
        raise ExportError(f"The tokenizer gives {ids.shape[1]} ids, the text tower takes {backbone.context_length}.")
    normalised = backbone.preprocessing
    image = ImageTower(backbone.model, normalised.mean, normalised.std, softened=backbone.softened).eval()
    return BackboneGraphs(
        image=_export_tower(image, pictures, "image", precision, calibration),
        text=_export_tower(
            TextTower(backbone.model).eval(), ids, "input_ids", "float16" if precision == "int8" else precision
        ),
    )


def _export_tower(
    tower: nn.Module,
    batch: Tensor,
    input_name: str,
    precision: Precision,
    calibration: CalibrationPictures | None = None,
) -> TowerGraph:
    graph = export_graph(tower, batch[:2], input_name)
    exact = checked_parity(tower, graph, batch)
    stored, stored_parity = graph, exact
    if precision == "float16":
        stored = store_half(graph)
        stored_parity = parity(tower, stored, batch)
    elif precision == "int8":
        if calibration is None:
            raise ExportError("int8 needs pictures to calibrate on.")
        stored, stored_parity = quantize_image_tower(graph, calibration)
    return TowerGraph(
        model=stored,
        precision=precision,
        embedding_dim=int(graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value),
        gflops=round(gflops(tower, batch[:1]), 6),
        parity=exact,
        stored_parity=stored_parity,
    )


def tower_configs(
    backbone: Backbone, graphs: BackboneGraphs, temperature: float
) -> tuple[ImageTowerConfig, TextTowerConfig]:
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
        votes=backbone.votes,
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
        votes=backbone.votes,
        tokenizer=TOKENIZER_FILE,
        context_length=backbone.context_length,
    )
    return image, text


def write_backbone(
    repository: Path,
    backbone: Backbone,
    *,
    precision: Precision = "float32",
    calibration: CalibrationPictures | None = None,
    fit_temperature: TemperatureFitter | None = None,
) -> BackboneGraphs:
    """Export `backbone` into `repository`, replacing what is there under its name.

    `fit_temperature` sees the graphs as they will be served; without it the temperature is 1. Raises `ExportError`,
    and then leaves what was there.
    """
    graphs = export_graphs(backbone, precision, calibration)
    temperature = 1.0 if fit_temperature is None else fit_temperature(backbone, graphs)
    replace_folders(repository, backbone_folders(backbone, graphs, temperature))
    return graphs


def backbone_folders(backbone: Backbone, graphs: BackboneGraphs, temperature: float) -> Folders:
    """The files of both towers' folders."""
    image, text = tower_configs(backbone, graphs, temperature)
    return {
        image.model_name: {
            "config.pbtxt": render_config(image).encode(),
            "1/model.onnx": _content(graphs.image.model),
        },
        text.model_name: {
            "config.pbtxt": render_config(text).encode(),
            "1/model.onnx": _content(graphs.text.model),
            TOKENIZER_FILE: backbone.tokenizer.to_str().encode(),
        },
    }


def _content(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _digest(model: onnx.ModelProto) -> str:
    return hashlib.sha256(_content(model)).hexdigest()
