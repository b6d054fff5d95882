"""OpenCLIP models by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from training.cli import app
from training.export.errors import ExportError
from training.export.openclip import family_of, load_openclip

pytestmark = pytest.mark.torch


def _refuse(*_: Any, **__: Any) -> None:
    raise ConnectionError("no route to host")


def test_weights_that_cannot_be_downloaded_are_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("training.export.openclip.download_pretrained", _refuse)
    result = CliRunner().invoke(app, ["export-openclip", "ViT-B-32-quickgelu", "openai", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: The weights 'openai' of ViT-B-32-quickgelu are not in the local cache")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_and_an_unknown_tag_are_named() -> None:
    with pytest.raises(ExportError, match="no model called 'ViT-Z'"):
        load_openclip("ViT-Z", "openai")
    with pytest.raises(ExportError, match="known tags: openai"):
        load_openclip("RN50-quickgelu", "laion2b")


def test_openai_weights_are_refused_for_an_architecture_with_the_wrong_activation() -> None:
    with pytest.raises(ExportError, match="use ViT-B-32-quickgelu"):
        load_openclip("ViT-B-32", "openai")


def test_a_model_with_a_foreign_tokenizer_is_refused() -> None:
    with pytest.raises(ExportError, match="tokenizer"):
        load_openclip("ViT-B-16-SigLIP", "webli")


def test_families_are_read_from_the_configuration() -> None:
    assert family_of({"vision_cfg": {"layers": 12}}) == "vit"
    assert family_of({"vision_cfg": {"layers": [3, 4, 6, 3]}}) == "resnet"
    assert family_of({"vision_cfg": {"timm_model_name": "convnext_base"}}) == "convnext"
