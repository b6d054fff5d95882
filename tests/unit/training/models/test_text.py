"""The text tower as a part of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.checkpoint import CheckpointError, save_tensors
from training.models.text import TEXT_TOWER, encode_texts, is_text, load_text_tower, text_tensors
from training.models.tokenizer import END_ID, PAD_ID, START_ID
from training.models.towers import build_model

pytestmark = pytest.mark.torch


def _ids(lengths: list[int], context_length: int) -> torch.Tensor:
    """Random texts of so many tokens, start and end included."""
    ids = torch.full((len(lengths), context_length), PAD_ID)
    generator = torch.Generator().manual_seed(0)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(3, 500, (length,), generator=generator)
        row[0], row[length - 1] = START_ID, END_ID
    return ids


@pytest.mark.parametrize("lengths", [[3, 24, 5, 12, 13, 2, 20], [24, 22], [2, 3]], ids=["mixed", "long", "short"])
def test_trimmed_texts_are_embedded_as_whole_ones(lengths: list[int]) -> None:
    model = build_model("resnet-l").eval()
    ids = _ids(lengths, model.context_length)
    with torch.no_grad():
        torch.testing.assert_close(encode_texts(model, ids), model.encode_text(ids), rtol=0, atol=1e-5)


def test_every_parameter_belongs_to_one_tower_or_to_none() -> None:
    names = dict(build_model("resnet-l").named_parameters())
    others = {name for name in names if not is_text(name)}
    assert {name.split(".")[0] for name in others} == {"visual", "logit_scale"}
    assert {"token_embedding.weight", "text_projection"} <= names.keys() - others


def test_a_text_tower_moves_to_a_model_with_another_image_tower(tmp_path: Path) -> None:
    first, second = build_model("resnet-l"), build_model("mixer-n")
    images = second.visual.state_dict()
    save_tensors(tmp_path / TEXT_TOWER, text_tensors(first), {})
    load_text_tower(second, tmp_path / TEXT_TOWER)
    for name, value in text_tensors(second).items():
        assert torch.equal(value, first.state_dict()[name])
    assert all(torch.equal(value, images[name]) for name, value in second.visual.state_dict().items())


def test_a_text_tower_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / TEXT_TOWER, text_tensors(build_model("vit-s")), {})
    with pytest.raises(CheckpointError, match="another shape"):
        load_text_tower(build_model("resnet-l"), tmp_path / TEXT_TOWER)


def test_a_missing_text_tower_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="python -m training distil"):
        load_text_tower(build_model("resnet-l"), tmp_path / TEXT_TOWER)
