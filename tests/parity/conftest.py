"""One small OpenCLIP architecture with random weights, exported once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from training.export.backbone import Backbone, BackboneGraphs, write_backbone
from training.export.openclip import load_openclip

# Of the architectures with OpenCLIP's own tokenizer one of the two smallest (42 M parameters).
SMALL = "ViT-S-32-alt"


@dataclass(frozen=True)
class ExportedOpenClip:
    """The torch model, its graphs and where they lie."""

    backbone: Backbone
    graphs: BackboneGraphs
    repository: Path


@pytest.fixture(scope="session")
def openclip(tmp_path_factory: pytest.TempPathFactory) -> ExportedOpenClip:
    """`SMALL` in full precision."""
    backbone = load_openclip(SMALL, None, random_weights=True)
    repository = tmp_path_factory.mktemp("openclip")
    return ExportedOpenClip(backbone, write_backbone(repository, backbone), repository)
