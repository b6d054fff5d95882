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
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn

from service.repository import Backbone as ServedBackbone
from service.repository import load_zoo
from training.checkpoint import save_tensors
from training.config import RunConfig, load_config
from training.data.rows import DataError
from training.data.samples import decode_rows, select_rows
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split
from training.export.backbone import PROBE_TEXTS, Backbone, export_graphs
from training.export.errors import ExportError
from training.export.graph import MAX_DIFFERENCE, distance, open_session, run_session
from training.export.run import CONFIGS, backbone_of_run
from training.export.towers import ImageTower
from training.export.unfold import batch_norms, folded_names, make_neutral, unfold
from training.journal import FINAL
from training.models.text import TOKENIZER
from training.models.tokenizer import encode
from training.models.towers import build_model, zoo_preprocessing

PICTURES: Final = 2048
"""On which normalisation is measured: at 16 places and more of each a channel's spread is known to half a percent."""
BATCH: Final = 64


def restore_run(
    repository: Path, name: str, out: Path, data: DataDirs | None = None, config_path: Path | None = None
) -> float:
    """The backbone `name` of `repository` as a finished run in the folder `out`. Returns the largest difference of a
    component between embeddings of what was restored and of what is served. `data`: what it was trained on, needed
    where it normalises by batches; `config_path`: what it was trained by, by default the configuration of its name.

    Raises `ExportError` for a backbone that is not there, was not trained by `python -m training train`, or has
    weights that cannot be told apart any more; `RepositoryError` for a repository that must not be served.
    """
    if (out / FINAL).exists():
        raise ExportError(f"{out}: there is a {FINAL} here already; name another folder with --out.")
    served = _served(repository, name)
    config = _config(name, config_path or CONFIGS / f"{name}.toml")
    tokenizer = Tokenizer.from_file(str(served.text.tokenizer_path))
    model = build_model(config.model).eval()
    if (model.context_length, model.vocab_size) != (served.text.config.context_length, tokenizer.get_vocab_size()):
        raise ExportError(
            f"{name}: its tokenizer does not belong to a {config.model}; it was trained by another configuration."
        )
    folds = any(batch_norms(model))
    if folds and data is None:
        raise ExportError(
            f"{name}: it normalises by batches, which is measured on what it was trained on: pass --data."
        )
    _load_served(model, config, tokenizer, served)
    if folds and data is not None:
        unfold(model, _image_tower(config, model), _pictures(config, data))
    found = _distance(served, backbone_of_run(config, model, tokenizer, "restored"))
    if found > MAX_DIFFERENCE:
        raise ExportError(f"{name}: what was restored strays from what is served by {found:.1e}.")
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / TOKENIZER), pretty=False)
    averages = {f"average.{key}": value for key, value in model.state_dict().items()}
    save_tensors(out / FINAL, averages, _described(config, served))
    return found


def _load_served(model: CLIP, config: RunConfig, tokenizer: Tokenizer, served: ServedBackbone) -> None:
    """Put the served weights into `model`, its batch normalisations neutral."""
    make_neutral(model)
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


def _config(name: str, path: Path) -> RunConfig:
    if not path.is_file():
        raise ExportError(f"{name}: {path} is missing, which would say how it was trained; name it with --config.")
    config = load_config(path)
    if config.name != name:
        raise ExportError(f"{path}: trains {config.name}, not {name}.")
    return config


def _image_tower(config: RunConfig, model: CLIP) -> ImageTower:
    as_served = zoo_preprocessing(config.model)
    return ImageTower(model, as_served.mean, as_served.std, softened=True).eval()


def _pictures(config: RunConfig, data: DataDirs) -> Iterator[Tensor]:
    """uint8[n, h, w, 3] in batches, of the rows that it was trained on."""
    rows = select_rows(read_rows(data, available_sources(data)), Split.TOWER_TRAIN, config.data.sources)
    if not rows:
        raise DataError(f"no row of {', '.join(config.data.sources)} here, which {config.name} was trained on")
    rows = sorted(rows, key=lambda row: row.digest)[:PICTURES]
    images = torch.from_numpy(decode_rows(rows, zoo_preprocessing(config.model)).images)
    yield from torch.split(images, BATCH)


def _described(config: RunConfig, served: ServedBackbone) -> dict[str, object]:
    """As a run describes itself (`Journal`), with the number of images from the provenance."""
    provenance = served.image.config.provenance
    images = re.search(r"on (\d+) images", provenance)
    return {
        "config": asdict(config),
        "step": 0,
        "seconds": 0.0,
        "images": int(images[1]) if images else 0,
        "restored": {"image": served.image.digest, "text": served.text.config.sha256},
    }


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
    """The largest difference of a component, over both towers."""
    graphs = export_graphs(restored, "float16")
    size = restored.preprocessing.image_size
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    ids = encode(restored.tokenizer, PROBE_TEXTS)
    pairs = (
        (served.image.model_path, graphs.image.model, pictures),
        (served.text.model_path, graphs.text.model, ids),
    )
    return max(
        distance(run_session(open_session(str(path)), batch), run_session(open_session(graph), batch)).max_difference
        for path, graph, batch in pairs
    )
