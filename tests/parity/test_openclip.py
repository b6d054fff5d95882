"""Real OpenCLIP architectures with random weights, exported by the command and served from their folders.

Their weights cannot be had without the model hub; everything else about them can: what the graph computes, how it is
called, and what the files say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from service.model_config import Channels, Preprocessing
from service.repository import Backbone, load_zoo
from training.cli import app
from training.evaluate.embedder import open_backbone
from training.export.graph import MAX_DIFFERENCE
from training.export.openclip import load_openclip

pytestmark = pytest.mark.torch

# Of the image tower, as OpenCLIP publishes them (docs/model_profile.csv).
GFLOPS = {"ViT-B-32-quickgelu": 8.82, "RN50-quickgelu": 12.22}
WIDTHS = {"ViT-B-32-quickgelu": 512, "RN50-quickgelu": 1024}


@pytest.fixture(scope="module", params=sorted(WIDTHS))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Backbone]:
    """The name of an architecture, and its backbone in a repository that the command wrote."""
    repository = tmp_path_factory.mktemp("repository")
    words = ["export", f"{request.param}:openai", "--random-weights", "--seed", "3", "--out", str(repository)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    (backbone,) = load_zoo(repository).backbones
    return request.param, backbone


def test_both_towers_equal_torch(exported: tuple[str, Backbone]) -> None:
    name, backbone = exported
    model = load_openclip(name, "openai", random_weights=True, seed=3).model
    served = open_backbone(backbone)
    pictures = np.random.default_rng(5).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    mean, std = (torch.tensor(channels).view(1, 3, 1, 1) for channels in _openai_normalisation())
    pixels = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std
    texts = ["a photo of a cat", "Two dogs, one ball!"]
    with torch.no_grad():
        image = functional.normalize(model.encode_image(pixels), dim=-1).numpy()  # type: ignore[operator]  # OpenCLIP's models are not typed
        text = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True).numpy()  # type: ignore[operator]  # as above
    # Pictures that all look alike to the tower would hide a wrong one.
    assert image[0] @ image[1] < 0.999
    assert np.abs(served.images(pictures) - image).max() <= MAX_DIFFERENCE
    assert np.abs(served.texts(texts) - text).max() <= MAX_DIFFERENCE


def _openai_normalisation() -> tuple[Channels, Channels]:
    return open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


def test_the_files_say_what_the_architecture_is(exported: tuple[str, Backbone]) -> None:
    name, backbone = exported
    assert backbone.name == f"{name.lower()}-openai-random"
    assert backbone.family == ("resnet" if name.startswith("RN") else "vit")
    assert backbone.embedding_dim == WIDTHS[name]
    assert backbone.gflops == pytest.approx(GFLOPS[name], rel=0.01)
    mean, std = _openai_normalisation()
    assert backbone.preprocessing == Preprocessing(224, "shortest", "bicubic", mean, std)
    assert backbone.text.config.context_length == 77
    assert "random weights, seed 3" in backbone.image.config.provenance
    assert Path(backbone.text.tokenizer_path).is_file()
