"""What a fit with experts leaves for serving: the backbone that it began with, with other weights and no heads."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from open_clip.model import CLIP, CustomTextCLIP

from training.adapters.command import load_backbone
from training.config import ConfigError
from training.data.splits import Split
from training.experts.errors import ExpertError
from training.experts.fitting.config import FitConfig, FitSchedule
from training.experts.fitting.losses import Weights
from training.experts.fitting.run import load_fitted, weights_digest
from training.experts.resize import own_side, resized
from training.export.backbone import Backbone
from training.export.errors import ExportError


def load_fit(folder: Path) -> Backbone:
    """The backbone that the finished fit in `folder` left, at the first size of its pictures.

    Raises `CheckpointError` if there is no finished fit, `ExportError` if what it began with is gone or has other
    weights now.
    """
    _, config, metadata = load_fitted(folder)
    try:
        found = fitted_backbone(load_backbone(config.backbone), folder, side=config.sides[0])
    except (ConfigError, ExpertError) as error:
        raise ExportError(f"{folder}: {error}") from error
    about = metadata.get("about", {})
    # What has seen `fit` rows of its sources has its temperature fitted on others of them.
    own = tuple(about.get("sources", ())) if Split.FIT in about.get("splits", ()) else ()
    return dataclasses.replace(found, adapted_to=own)


def fitted_backbone(base: Backbone, folder: Path, *, side: int | None = None) -> Backbone:
    """`base`, what the finished fit in `folder` began with, with the weights that this left.

    It is exported as any backbone, at its own size of pictures, or at `side` pixels. Called `<base>-cliptex`, or
    `<base>-ft` without experts. The model of `base` is changed. Raises `CheckpointError` if there is no finished fit,
    `ExportError` if it began with other weights, `ExpertError` for a size that the tower does not take.
    """
    weights, config, metadata = load_fitted(folder)
    model = cast(CLIP | CustomTextCLIP, base.model)
    if weights_digest(model) != metadata["start"]:
        raise ExportError(f"{folder}: was fitted to other weights than {base.name} has now.")
    model.load_state_dict(weights)
    preprocessing = base.preprocessing
    if side is not None and side != own_side(model.visual):
        model = resized(model, side)
        preprocessing = dataclasses.replace(preprocessing, image_size=side)
    kind = "cliptex" if config.tasks.any else "ft"
    return dataclasses.replace(
        base,
        name=f"{base.name}-{kind}",
        model=model.eval(),
        preprocessing=preprocessing,
        logit_scale=model.logit_scale.detach().exp().item(),
        provenance=f"{base.provenance}; {fit_provenance(config, metadata)}",
    )


def fit_provenance(config: FitConfig, metadata: dict[str, Any]) -> str:
    """Clauses on what a fit did, the first of which `training.evaluate.provenance` reads."""
    about = metadata.get("about", {})
    names = {"classes": "segmentation", "depth": "depth", "normals": "normals"}
    labels = about.get("labels", {})
    on = [name for name in names if getattr(config.tasks, name)]
    experts = [names[name] + (f" by {labels[name]['expert']}" if name in labels else "") for name in on]
    how = f"with experts ({', '.join(experts)})" if experts else "by captions alone"
    of = f" of {', '.join(about['sources'])}" if about.get("sources") else ""
    return (
        f"fine-tuned {how} on {metadata['images']} images{of}; {' and '.join(map(str, config.sides))} pixels; "
        f"{config.schedule.epochs} epochs; batch {config.schedule.batch_size}; seed {config.seed}; "
        f"{command_of(config, about)}"
    )


def command_of(config: FitConfig, about: Mapping[str, Any]) -> str:
    """The command that makes the same fit again, but for where things lie: DATA, LABELS. Weights of classes, which the
    labels decide, are not in it (`--balance`)."""
    schedule, own = config.schedule, FitSchedule()
    # A path of the machine that fitted says nothing to who reads it elsewhere.
    target = Path(config.backbone).name if Path(config.backbone).is_absolute() else config.backbone
    words = [f"python -m training.experts fit --backbone {target} --data DATA"]
    words += [f"--source {name}" for name in about.get("sources", ())]
    words += [
        f"--split {name}" for name in about.get("splits", ()) if list(about["splits"]) != [str(Split.TOWER_TRAIN)]
    ]
    words += ["--labels LABELS"] if config.tasks.any else []
    words += [f"--side {side}" for side in config.sides]
    for name, value in dataclasses.asdict(config.weights).items():
        if value == 0 and name != "clip":
            words.append(f"--without {name}")
        elif value != getattr(Weights(), name):
            words.append(f"--weight {name}={value:g}")
    settings = {
        "--layers": (config.layers, 1),
        "--epochs": (schedule.epochs, own.epochs),
        "--batch-size": (schedule.batch_size, own.batch_size),
        "--rate": (schedule.peak_lr, own.peak_lr),
        "--warmup": (schedule.warmup_steps, own.warmup_steps),
        "--seed": (config.seed, 0),
    }
    words += [f"{option} {value:g}" for option, (value, default) in settings.items() if value != default]
    return " ".join([*words, "--bf16"] if schedule.bf16 else words)
