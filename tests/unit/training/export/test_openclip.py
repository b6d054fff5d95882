"""OpenCLIP models by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.model_config import Preprocessing
from training.cli import app
from training.export.errors import ExportError
from training.export.openclip import backbone_name, family_of, load_openclip
from training.models.tokenizer import encode

pytestmark = pytest.mark.torch


def _refuse(*_: Any, **__: Any) -> None:
    raise ConnectionError("no route to host")


def test_weights_that_cannot_be_downloaded_are_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("training.export.openclip.download_pretrained", _refuse)
    result = CliRunner().invoke(app, ["export", "ViT-B-32-quickgelu:openai", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: The weights 'openai' of ViT-B-32-quickgelu are not in the local cache")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_damaged_are_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "weights.pt"
    damaged.write_bytes(b"half a download")
    for place in ("training.export.openclip", "open_clip.factory"):
        monkeypatch.setattr(f"{place}.download_pretrained", lambda *_, **__: str(damaged))
    with pytest.raises(
        ExportError, match=r"The weights 'cc12m' of RN50-quickgelu cannot be loaded \(\w+\): delete them"
    ):
        load_openclip("RN50-quickgelu", "cc12m")


def test_an_unknown_model_and_an_unknown_tag_are_named() -> None:
    with pytest.raises(ExportError, match="no model called 'ViT-Z'"):
        load_openclip("ViT-Z", "openai")
    with pytest.raises(ExportError, match="known tags: openai"):
        load_openclip("RN50-quickgelu", "laion2b")


def test_openai_weights_are_refused_for_an_architecture_with_the_wrong_activation() -> None:
    with pytest.raises(ExportError, match="use ViT-B-32-quickgelu"):
        load_openclip("ViT-B-32", "openai")


def test_a_model_with_a_foreign_text_tower_is_refused() -> None:
    with pytest.raises(ExportError, match="roberta-ViT-B-32 has a Hugging Face text tower"):
        load_openclip("roberta-ViT-B-32", "laion2b_s12b_b32k", random_weights=True)


def test_random_weights_are_said_in_the_name() -> None:
    assert backbone_name("ViT-B-32", None, random_weights=True) == "vit-b-32-random"
    assert backbone_name("ViT-B-32", "laion2b_e16", random_weights=True) == "vit-b-32-laion2b-e16-random"
    assert backbone_name("ViT-B-32", "laion2b_e16", random_weights=False) == "vit-b-32-laion2b-e16"


def test_siglip_is_resized_and_tokenized_as_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ExportError("not in the local cache")

    monkeypatch.setattr("training.export.openclip.load_hf_tokenizer", missing)
    backbone = load_openclip("ViT-B-16-SigLIP", "webli", random_weights=True)
    half = (0.5, 0.5, 0.5)
    assert backbone.preprocessing == Preprocessing(224, "squash", "bicubic", half, half)
    assert (backbone.family, backbone.context_length) == ("vit", 64)
    assert encode(backbone.tokenizer, ["a cat", "x" * 500]).shape == (2, 64)
    assert backbone.provenance.endswith("random weights, seed 0, a stand-in for the tokenizer")


def test_families_are_read_from_the_configuration() -> None:
    assert family_of({"vision_cfg": {"layers": 12}}) == "vit"
    assert family_of({"vision_cfg": {"layers": [3, 4, 6, 3]}}) == "resnet"
    assert family_of({"vision_cfg": {"timm_model_name": "convnext_base"}}) == "convnext"
