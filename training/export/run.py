"""Finished (or still running) training runs as backbones."""

import math
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from training.checkpoint import load_average
from training.config import RunConfig, parse_config
from training.export.backbone import Backbone
from training.export.errors import ExportError
from training.models.towers import build_model, zoo_preprocessing
from training.train import CHECKPOINT, FINAL, TOKENIZER


def provenance(config: RunConfig, metadata: dict[str, Any], finished: bool) -> str:
    """One line on where the weights come from."""
    extent = f"{config.schedule.epochs} epochs" if finished else f"unfinished run, {metadata['step']} steps"
    return (
        f"trained from scratch on {metadata['images']} images of {', '.join(config.data.sources)}; {extent}; "
        f"batch {config.schedule.batch_size}; seed {config.seed}; "
        f"python -m training train training/configs/{config.name}.toml --data DATA"
    )


def load_run(run_dir: Path) -> Backbone:
    """The weight average of a run: of `final.safetensors`, or of the latest checkpoint while there is no such file.

    Raises `ExportError` for a folder without either.
    """
    final, checkpoint = run_dir / FINAL, run_dir / CHECKPOINT
    if not final.exists() and not checkpoint.exists():
        raise ExportError(f"{run_dir}: no {FINAL} and no {CHECKPOINT} here; train first.")
    weights, metadata = load_average(final if final.exists() else checkpoint)
    config = parse_config(metadata["config"], str(run_dir))
    model = build_model(config.model)
    model.load_state_dict(weights)
    return Backbone(
        name=config.name,
        family=config.family,
        model=model.eval(),
        preprocessing=zoo_preprocessing(config.model),
        tokenizer=Tokenizer.from_file(str(run_dir / TOKENIZER)),
        context_length=model.context_length,
        logit_scale=round(math.exp(model.logit_scale.item()), 6),
        provenance=provenance(config, metadata, final.exists()),
    )
