"""Distilling a sentence encoder into a text tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from training.distil import DistilConfig, distil, targets
from training.models.sentences import principal_directions
from training.models.text import TEXT_TOWER, TOKENIZER, encode_texts, load_text_tower
from training.models.tokenizer import encode
from training.models.towers import build_model

pytestmark = pytest.mark.torch

WORDS = ("cat", "dog", "bird", "boat", "car", "tree", "house", "apple")
TEXTS = [f"{article} {word}" for article in ("a", "the", "one", "my") for word in WORDS]


def _teacher(width: int = 384) -> np.ndarray:
    """Texts with the same noun lie close together."""
    rng = np.random.default_rng(0)
    nouns = rng.standard_normal((len(WORDS), width))
    rows = np.array([nouns[WORDS.index(text.split()[1])] for text in TEXTS]) + 0.3 * rng.standard_normal((32, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_targets_are_unit_rows_with_the_teachers_cosines() -> None:
    teacher = _teacher()
    found = targets(teacher, 256)
    assert found.shape == (len(TEXTS), 256)
    assert np.allclose(found @ found.T, teacher @ teacher.T, atol=1e-4)


def test_principal_directions_keep_what_few_directions_can() -> None:
    teacher = _teacher()
    directions = principal_directions(teacher, 8)
    assert np.allclose(directions.T @ directions, np.eye(8), atol=1e-5)
    _, singular, _ = np.linalg.svd(teacher)
    assert np.square(teacher @ directions).sum() == pytest.approx(np.square(singular[:8]).sum(), rel=1e-5)


def test_a_distilled_tower_places_texts_as_its_teacher_does(tmp_path: Path) -> None:
    config = DistilConfig("resnet-l", steps=40, batch_size=32, warmup_steps=5)
    distil(config, TEXTS, _teacher(), tmp_path, progress=False)

    model = build_model("resnet-l").eval()
    load_text_tower(model, tmp_path / TEXT_TOWER)
    ids = torch.from_numpy(encode(Tokenizer.from_file(str(tmp_path / TOKENIZER)), TEXTS))
    with torch.no_grad():
        embeddings = torch.nn.functional.normalize(encode_texts(model, ids), dim=-1).numpy()
    assert (embeddings * targets(_teacher(), 256)).sum(axis=1).mean() > 0.8
