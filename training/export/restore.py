"""The way back: a training run out of a backbone as it is served, to be adapted and fine-tuned further.

The exporter is deterministic. A model of the same configuration with weights that are all different, exported anew,
shows which tensor of the graph holds which parameter and how it lies there (those of linear layers are turned around).
What a repository does not hold, such as an optimiser and what rounding to float16 took away, does not come back.
Normalisation by batches, which is folded into convolutions, is measured anew (`unfold`).
"""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from open_clip.model import CLIP
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn

from service.repository import Backbone as ServedBackbone
from service.repository import load_zoo
from training.batches import epoch_order
from training.checkpoint import save_tensors
from training.config import RunConfig, load_config
from training.data.rows import DataError
from training.data.samples import decode_rows, select_rows
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split
from training.export.backbone import PROBE_TEXTS, Backbone, export_graphs
from training.export.errors import ExportError
from training.export.graph import MAX_DIFFERENCE, distance, open_session, run_session
from training.export.run import CONFIGS, backbone_of_run, provenance
from training.export.towers import ImageTower
from training.export.unfold import batch_norms, folded_names, make_neutral, unfold
from training.journal import FINAL
from training.models.text import TOKENIZER
from training.models.tokenizer import encode
from training.models.towers import build_model, zoo_preprocessing

PICTURES: Final = 2048
"""On which normalisation is measured: a channel's spread is then known to one or two percent."""
BATCH: Final = 64


def restore_run(
    repository: Path, name: str, out: Path, data: DataDirs | None = None, config_path: Path | None = None
) -> float:
    """The backbone `name` of `repository` as a finished run in the folder `out`, new or empty. Returns the largest
    difference of a component between embeddings of what was restored and of what is served. `data`: what it was trained
    on, needed where it normalises by batches; `config_path`: what it was trained by, by default the configuration of
    its name.

    Raises `ExportError` for a backbone that is not there, was not trained by `python -m training train` with that
    configuration, or has weights that cannot be told apart any more, and for a folder that cannot be written;
    `DataError` for data that lack a source; `RepositoryError` for a repository that must not be served.
    """
    _claim(out)
    served = _served(repository, name)
    config = load_config(config_path or _own_config(name))
    metadata = _metadata(config, served, config_path)
    tokenizer = _tokenizer(served)
    model = _model(config)
    if (model.context_length, model.vocab_size) != (served.text.config.context_length, tokenizer.get_vocab_size()):
        raise ExportError(f"{name}: its tokenizer does not belong to a {config.model}.")
    folds = any(batch_norms(model))
    if folds and data is None:
        raise ExportError(
            f"{name}: it normalises by batches, which is measured on what it was trained on: pass --data."
        )
    before = make_neutral(model)
    _load_served(model, config, tokenizer, served)
    if folds and data is not None:
        unfold(model, _image_tower(config, model), _pictures(config, data), before)
    as_read = _model(config)
    as_read.load_state_dict(model.state_dict())
    found = _distance(served, backbone_of_run(config, as_read, tokenizer, "restored"))
    if not found <= MAX_DIFFERENCE:  # in this order, so that NaN fails as well
        raise ExportError(f"{name}: what was restored strays from what is served by {found:.1e}.")
    try:
        tokenizer.save(str(out / TOKENIZER), pretty=False)
        save_tensors(out / FINAL, {f"average.{key}": value for key, value in model.state_dict().items()}, metadata)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{out}: cannot be written ({error}).") from error
    return found


def _claim(out: Path) -> None:
    """Make the folder, before any work. A run of another origin is not mixed with what is restored."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ExportError(f"{out}: is not empty; name another folder with --out.")
    except OSError as error:
        raise ExportError(f"{out}: cannot be written ({error.strerror}).") from error


def _own_config(name: str) -> Path:
    path = CONFIGS / f"{name}.toml"
    if not path.is_file():
        raise ExportError(f"{name}: {path} is missing, which would say how it was trained; name it with --config.")
    return path


def _metadata(config: RunConfig, served: ServedBackbone, path: Path | None) -> dict[str, Any]:
    """As a run describes itself (`Journal`). The configuration has to be what the backbone says that it was trained
    by, since the run would say so from now on."""
    said = served.image.config.provenance
    images = re.search(r"on (\d+) images", said)
    found = {"config": asdict(config), "step": 0, "seconds": 0.0, "images": int(images[1]) if images else 0}
    origin = provenance(config, found, finished=True)
    if (config.name, config.family) != (served.name, served.family) or not said.startswith(origin):
        raise ExportError(
            f"{path or _own_config(served.name)}: not what {served.name} was trained by; it says {said!r}, and this "
            f"would say {origin!r}. Name its configuration with --config."
        )
    return found


def _tokenizer(served: ServedBackbone) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(served.text.tokenizer_path))
    except Exception as error:  # the library raises nothing narrower
        raise ExportError(f"{served.text.tokenizer_path}: not a tokenizer ({error}).") from error


def _model(config: RunConfig) -> CLIP:
    try:
        return build_model(config.model).eval()
    except ValueError as error:
        raise ExportError(f"{config.name}: {error}") from error


def _load_served(model: CLIP, config: RunConfig, tokenizer: Tokenizer, served: ServedBackbone) -> None:
    """Put the served weights into `model`, whose batch normalisations are neutral."""
    make_distinct(model)
    stranger = export_graphs(backbone_of_run(config, model, tokenizer, "shows where weights go"))
    weights: dict[str, Tensor] = {}
    for shown, tower in ((stranger.image, served.image), (stranger.text, served.text)):
        weights |= _from_graph(model, shown.model, onnx.load(tower.model_path), tower.name)
    missing = [key for key in told_apart(model) if key not in weights]
    if missing:
        raise ExportError(
            f"{served.name}: {len(missing)} of its parameters are not in its graphs any more, {missing[0]} among them; "
            "train it instead."
        )
    weights["logit_scale"] = torch.tensor(math.log(served.logit_scale))
    model.load_state_dict(weights, strict=False)


def told_apart(model: nn.Module) -> dict[str, Tensor]:
    """What a graph says of a model, by name: all its floating-point tensors, without what is folded and the scale of
    logits."""
    left_out = {"logit_scale", *folded_names(model)}
    return {
        key: value for key, value in model.state_dict().items() if value.is_floating_point() and key not in left_out
    }


def make_distinct(model: nn.Module) -> None:
    """Random numbers for every tensor, in place, positive and of about the size that towers can bear."""
    torch.manual_seed(0)
    for value in told_apart(model).values():
        value.copy_(0.05 + 0.1 * torch.rand_like(value))


def _served(repository: Path, name: str) -> ServedBackbone:
    zoo = load_zoo(repository)
    for backbone in zoo.backbones:
        if backbone.name == name:
            return backbone
    raise ExportError(
        f"{repository}: no backbone {name!r}; there are {', '.join(each.name for each in zoo.backbones)}."
    )


def _image_tower(config: RunConfig, model: CLIP) -> ImageTower:
    as_served = zoo_preprocessing(config.model)
    return ImageTower(model, as_served.mean, as_served.std, softened=True).eval()


def _pictures(config: RunConfig, data: DataDirs) -> Iterator[Tensor]:
    """uint8[n, h, w, 3] in batches, of the rows that it was trained on, as often by source as it saw them."""
    rows = select_rows(read_rows(data, available_sources(data)), Split.TOWER_TRAIN, config.data.sources)
    missing = set(config.data.sources) - {row.source for row in rows}
    if missing:
        raise DataError(f"no row of {', '.join(sorted(missing))} here, which {config.name} was trained on")
    rows.sort(key=lambda row: row.digest)
    order = epoch_order([row.source for row in rows], config.data.source_weights, config.seed, 0)[:PICTURES]
    images = decode_rows([rows[place] for place in order], zoo_preprocessing(config.model)).images
    yield from torch.split(torch.from_numpy(images), BATCH)


def _from_graph(model: nn.Module, stranger: onnx.ModelProto, served: onnx.ModelProto, name: str) -> dict[str, Tensor]:
    """Parameters of the served graph by name, where `stranger` is the graph of `model`."""
    places, shapes = dict(_places(model)), {key: value.shape for key, value in told_apart(model).items()}
    # The exporter numbers its constants anew each time; their order and shapes are what is the same.
    if [list(each.dims) for each in stranger.graph.initializer] != [
        list(each.dims) for each in served.graph.initializer
    ]:
        raise ExportError(f"{name}: not a graph that today's exporter writes (int8 is not turned back).")
    found: dict[str, Tensor] = {}
    for mine, theirs in zip(stranger.graph.initializer, served.graph.initializer, strict=True):
        place = places.get(_digest(numpy_helper.to_array(mine)))
        if place is not None:
            key, turned = place
            values = torch.from_numpy(numpy_helper.to_array(theirs).astype(np.float32))
            found[key] = values.T.contiguous() if turned else values.reshape(shapes[key])
    return found


def _places(model: nn.Module) -> Iterator[tuple[str, tuple[str, bool]]]:
    """By the digest of a tensor in a graph: its name, and whether it lies there turned around."""
    for key, value in told_apart(model).items():
        yield _digest(value.numpy()), (key, False)
        if value.ndim == 2:
            yield _digest(value.T.contiguous().numpy()), (key, True)


def _digest(values: npt.NDArray[np.generic]) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


def _distance(served: ServedBackbone, restored: Backbone) -> float:
    """The largest difference of a component, over both towers; NaN if there is one."""
    graphs = export_graphs(restored)
    size = restored.preprocessing.image_size
    pictures = np.random.default_rng(1).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    pairs = (
        (served.image.model_path, graphs.image.model, pictures),
        (served.text.model_path, graphs.text.model, encode(restored.tokenizer, PROBE_TEXTS)),
    )
    found = [
        distance(run_session(open_session(str(path)), batch), run_session(open_session(graph), batch)).max_difference
        for path, graph, batch in pairs
    ]
    return float(np.max(found))
