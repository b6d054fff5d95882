"""The sections of a model card that follow from the zoo and its report."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from service.repository import Backbone, Zoo
from training.evaluate.markdown import markdown_table
from training.evaluate.provenance import fitted_sources, trained_sources
from training.evaluate.suites.zoo_report import ZooReport
from training.evaluate.suites.zoo_tables import (
    alone_table,
    backbone_table,
    committee_table,
    mean_table,
    prompt_table,
    retrieval_table,
    summary,
)

FROM_REPORT: Mapping[str, Callable[[ZooReport], str]] = {
    "summary": summary,
    "accuracy": backbone_table,
    "committees": committee_table,
    "alone": alone_table,
    "retrieval": retrieval_table,
    "means": mean_table,
    "prompts": prompt_table,
}
SECTIONS = ("backbones", *FROM_REPORT)


def card_sections(report: ZooReport, zoo: Zoo) -> dict[str, str]:
    """By name, what a card may ask for between its markers."""
    return {"backbones": backbones(zoo), **{name: write(report) for name, write in FROM_REPORT.items()}}


def backbones(zoo: Zoo) -> str:
    """Size, cost and training sources of every backbone, those beside the committee as well, from its configuration and
    its files."""
    header = ["backbone", "family", "image / text parameters", "GFLOPs per image / text", "files"]
    header += ["logit scale, temperature", "trained on"]
    return markdown_table(header, [_row(backbone) for backbone in zoo.backbones])


def _row(backbone: Backbone) -> list[str]:
    towers = (backbone.image, backbone.text)
    files = [*(tower.model_path for tower in towers), backbone.text.tokenizer_path]
    provenance = backbone.image.config.provenance
    trained, fitted = trained_sources(provenance), fitted_sources(provenance)
    said = "not stated" if trained is None else ", ".join(sorted(trained))
    return [
        f"`{backbone.name}`",
        backbone.family,
        " / ".join(f"{parameters(tower.model_path) / 1e6:.2f} M" for tower in towers),
        " / ".join(f"{tower.config.gflops:.3f}" for tower in towers),
        f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB",
        f"{backbone.logit_scale:.1f}, {backbone.temperature:.2f}",
        f"{said}; adapted to {', '.join(sorted(fitted))}" if fitted else said,
    ]


def parameters(model: Path) -> int:
    """How many numbers a graph holds as weights and constants."""
    graph = onnx.load(model, load_external_data=False).graph
    return sum(math.prod(tensor.dims) for tensor in graph.initializer)
