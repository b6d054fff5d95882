"""Exported graphs against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from service.model_config import Preprocessing
from service.repository import load_zoo
from tests.parity.conftest import ExportedOpenClip
from training.evaluate.embedder import open_backbone
from training.export.backbone import Backbone, export_graphs
from training.export.graph import MAX_DIFFERENCE, open_session, run_session
from training.models.tokenizer import encode, train_tokenizer
from training.models.towers import build_model, zoo_names, zoo_preprocessing

pytestmark = pytest.mark.torch


def _pictures(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def _torch_embeddings(model: torch.nn.Module, pictures: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The reference, written without the exported tower's folded normalisation."""
    mean, std = preprocessing.mean, preprocessing.std
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    shape = (1, 3, 1, 1)
    normalised = (pixels - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    with torch.no_grad():
        rows: np.ndarray = functional.normalize(model.encode_image(normalised), dim=-1).numpy()  # type: ignore[operator]  # OpenCLIP's models are not typed
    return rows


@pytest.mark.parametrize("name", zoo_names())
def test_every_tower_of_the_zoo_equals_torch(name: str) -> None:
    torch.manual_seed(1)
    model = build_model(name).eval()
    tokenizer = train_tokenizer(["a photo of a cat"], vocab_size=300, context_length=model.context_length)
    preprocessing = zoo_preprocessing(name)
    backbone = Backbone(name, "x", model, preprocessing, tokenizer, model.context_length, 14.0, "made by a test")
    graphs = export_graphs(backbone)
    pictures = _pictures(5, preprocessing.image_size)
    expected = _torch_embeddings(model, pictures, preprocessing)
    assert np.abs(run_session(open_session(graphs.image.model), pictures) - expected).max() <= MAX_DIFFERENCE
    ids = encode(tokenizer, ["a cat", "cats and dogs"])
    with torch.no_grad():
        texts = model.encode_text(torch.from_numpy(ids), normalize=True).numpy()
    assert np.abs(run_session(open_session(graphs.text.model), ids) - texts).max() <= MAX_DIFFERENCE


def test_an_openclip_model_served_from_its_folder_equals_torch(openclip: ExportedOpenClip) -> None:
    (served,) = load_zoo(openclip.repository).backbones
    embedder, model = open_backbone(served), openclip.backbone.model
    pictures = _pictures(3, served.preprocessing.image_size)
    expected = _torch_embeddings(model, pictures, served.preprocessing)
    assert np.abs(embedder.images(pictures) - expected).max() <= MAX_DIFFERENCE
    texts = ["a photo of a cat", "Two dogs, one ball!"]
    with torch.no_grad():
        rows = model.encode_text(torch.from_numpy(encode(openclip.backbone.tokenizer, texts)), normalize=True)  # type: ignore[operator]  # as above
    assert np.abs(embedder.texts(texts) - rows.numpy()).max() <= MAX_DIFFERENCE
