"""Finished (or still running) training runs as backbones."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer

from training.checkpoint import load_average
from training.config import RunConfig, load_config, parse_config
from training.export.backbone import Backbone
from training.export.errors import ExportError
from training.export.random_weights import enliven, stand_in_tokenizer
from training.journal import CHECKPOINT, FINAL
from training.models.text import TOKENIZER
from training.models.towers import build_model, zoo_preprocessing

CONFIGS = Path(__file__).parents[1] / "configs"


def provenance(config: RunConfig, metadata: dict[str, Any], finished: bool) -> str:
    """One line on where the weights come from."""
    extent = f"{config.schedule.epochs} epochs" if finished else f"unfinished run, {metadata['step']} steps"
    text = f"; text tower started from {config.text.init}" if config.text.init else ""
    return (
        f"trained from scratch on {metadata['images']} images of {', '.join(config.data.sources)}; {extent}; "
        f"batch {config.schedule.batch_size}; seed {config.seed}{text}; "
        f"python -m training train training/configs/{config.name}.toml --data DATA"
    )


def load_run(run_dir: Path) -> Backbone:
    """The weight average of a run: of `final.safetensors`, or of the latest checkpoint while there is no such file.

    Raises `ExportError` for a folder without either, and for weights that no longer fit the model of their name.
    """
    final, checkpoint = run_dir / FINAL, run_dir / CHECKPOINT
    if not final.exists() and not checkpoint.exists():
        raise ExportError(f"{run_dir}: no {FINAL} and no {CHECKPOINT} here; train or restore it first.")
    if not (run_dir / TOKENIZER).exists():
        raise ExportError(f"{run_dir}: no {TOKENIZER} here, without which the text tower is of no use.")
    weights, metadata = load_average(final if final.exists() else checkpoint)
    config = parse_config(metadata["config"], str(run_dir))
    model = build_model(config.model)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # torch's message lists every parameter
        raise ExportError(f"{run_dir}: its weights do not fit the model {config.model!r} of today.") from error
    tokenizer = Tokenizer.from_file(str(run_dir / TOKENIZER))
    return backbone_of_run(config, model, tokenizer, provenance(config, metadata, final.exists()))


def random_run(run_dir: Path, seed: int) -> Backbone:
    """What the run of that folder would give, untrained: its configuration is found by the folder's name, the folder
    itself need not exist. Words are spelt out in bytes.

    Raises `ExportError` if there is no such configuration.
    """
    path = CONFIGS / f"{run_dir.name}.toml"
    if not path.is_file():
        raise ExportError(f"{run_dir}: {path} is missing, which would say what to build with random weights.")
    config = load_config(path)
    torch.manual_seed(seed)
    model = build_model(config.model)
    enliven(model.eval(), zoo_preprocessing(config.model).image_size)
    backbone = backbone_of_run(config, model, stand_in_tokenizer(model.context_length), f"random weights, seed {seed}")
    return replace(backbone, name=f"{config.name}-random")


def backbone_of_run(config: RunConfig, model: CLIP, tokenizer: Tokenizer, origin: str) -> Backbone:
    """A model of the zoo as it is exported; `origin`: one line on where its weights come from."""
    return Backbone(
        name=config.name,
        family=config.family,
        model=model.eval(),
        preprocessing=zoo_preprocessing(config.model),
        tokenizer=tokenizer,
        context_length=model.context_length,
        logit_scale=round(math.exp(model.logit_scale.item()), 6),
        provenance=origin,
        softened=True,
    )
