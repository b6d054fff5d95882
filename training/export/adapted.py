"""Backbones with a fitted adapter, merged into the weights as far as the algebra allows."""

import dataclasses
from pathlib import Path
from typing import Any

from training.adapters.adapt_config import AdaptConfig, parse_adapt_config
from training.adapters.attach import Adapted, attach
from training.adapters.command import ADAPTER, load_backbone
from training.adapters.errors import AdapterError
from training.adapters.merging import merge
from training.checkpoint import load_tensors
from training.config import ConfigError
from training.experts.fitting.run import TERMS
from training.experts.fitting.served import load_fit
from training.export.backbone import Backbone
from training.export.errors import ExportError
from training.export.run import load_run


def load_any_run(folder: Path) -> Backbone:
    """The backbone in the folder of a run, be it one of `train`, of `adapt` or of `training.experts fit`.

    Raises `ExportError`, and `CheckpointError` for a fit that is not finished.
    """
    if (folder / ADAPTER).exists():
        return load_adapted(folder)
    # The two folders have checkpoints of one name; only that of a fit has the record of its terms.
    return load_fit(folder) if (folder / TERMS).exists() else load_run(folder)


def load_adapted(folder: Path) -> Backbone:
    """The adapter in the folder of a finished fit, merged into the backbone that its configuration names.

    Called `<backbone>-<design>`. Raises `ExportError` if that backbone is gone or has other weights now.
    """
    tensors, metadata = load_tensors(folder / ADAPTER)
    try:
        config = parse_adapt_config(metadata["config"])
        base = load_backbone(config.backbone)
        adapted = attach(base.model, config.design, seed=0)
        if adapted.frozen_digest() != metadata["frozen"]:
            raise ExportError(f"{folder}: was fitted to other weights than {config.backbone} has now.")
        adapted.load_adapter_state(tensors)
    except (AdapterError, ConfigError) as error:
        raise ExportError(f"{folder}: {error}") from error
    found = adapted_backbone(base, adapted, f"{base.name}-{config.design.name}", fit_provenance(config, metadata))
    return dataclasses.replace(found, adapted_to=config.sources)


def adapted_backbone(base: Backbone, adapted: Adapted, name: str, origin: str) -> Backbone:
    """`base` with the merged adapters in place of its model; its size is said beside where it comes from."""
    added = sum(adapted.added().values())
    provenance = f"{base.provenance}; {origin}; {added} parameters added ({100 * adapted.share():.1f} %)"
    return dataclasses.replace(base, name=name, model=merge(adapted), provenance=provenance)


def fit_provenance(config: AdaptConfig, metadata: dict[str, Any]) -> str:
    """One clause on where an adapter comes from."""
    schedule, sources = config.schedule, ", ".join(config.sources) or "all sources"
    return (
        f"adapter {config.design.name} fitted to {metadata['images']} images of {sources}; {schedule.epochs} epochs; "
        f"batch {schedule.batch_size}; seed {config.seed}; "
        f"python -m training adapt --backbone {config.backbone} --adapter {config.design.name} --data DATA"
    )
