"""The zoo's model configurations."""

from __future__ import annotations

import pytest
import torch

from training.models.tokenizer import END_ID, PAD_ID
from training.models.towers import build_model, image_size, preprocessing, zoo_names, zoo_preprocessing

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", zoo_names())
def test_towers_embed_into_one_space(name: str) -> None:
    model = build_model(name).eval()
    ids = torch.zeros(2, model.context_length, dtype=torch.long)
    ids[:, 3] = END_ID
    with torch.no_grad():
        image = model.encode_image(torch.rand(2, 3, image_size(name), image_size(name)))
        text = model.encode_text(ids)
    assert image.shape == text.shape == (2, 256)


@pytest.mark.parametrize("name", zoo_names())
def test_padding_does_not_change_a_text(name: str) -> None:
    model = build_model(name).eval()
    ids = torch.full((2, model.context_length), PAD_ID)
    ids[:, :3] = torch.tensor([1, 50, 60])
    ids[:, 3] = END_ID
    ids[1, 4:] = 77
    with torch.no_grad():
        first, second = model.encode_text(ids)
    assert torch.allclose(first, second, atol=1e-6)


def test_an_unknown_configuration_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no-such-model"):
        build_model("no-such-model")


def test_training_normalises_as_the_exported_preprocessing_says() -> None:
    mean, std = preprocessing()
    served = zoo_preprocessing(zoo_names()[0])
    assert mean.flatten().tolist() == pytest.approx(served.mean)
    assert std.flatten().tolist() == pytest.approx(served.std)
