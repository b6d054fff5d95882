"""Backbones in a model repository."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from service.model_config import ImageTowerConfig, parse_config
from service.repository import load_zoo
from tests.unit.training.export.conftest import Exported
from training.export.backbone import export_graphs, tower_configs
from training.export.errors import ExportError

pytestmark = pytest.mark.torch


def test_the_gateway_loads_what_was_exported(exported: Exported) -> None:
    (backbone,) = load_zoo(exported.repository).backbones
    assert backbone.name == "tiny"
    assert backbone.preprocessing == exported.backbone.preprocessing
    assert (backbone.logit_scale, backbone.embedding_dim) == (14.0, 256)
    assert backbone.gflops == exported.graphs.image.gflops


def test_the_folder_has_the_layout_that_triton_loads(exported: Exported) -> None:
    files = {str(path.relative_to(exported.repository)) for path in exported.repository.rglob("*") if path.is_file()}
    assert files == {
        "tiny_image/config.pbtxt",
        "tiny_image/1/model.onnx",
        "tiny_text/config.pbtxt",
        "tiny_text/tokenizer.json",
        "tiny_text/1/model.onnx",
    }


def test_a_rendered_configuration_parses_back_to_what_was_meant(exported: Exported) -> None:
    image, _ = tower_configs(exported.backbone, exported.graphs, 1.25)
    path = exported.repository / "tiny_image" / "config.pbtxt"
    found = parse_config(path.read_text(), str(path))
    assert isinstance(found, ImageTowerConfig)
    assert found.sha256 == image.sha256
    assert found.provenance == "made by a test"
    assert found.max_batch_size == 64
    assert found.dynamic_batching
    assert found.instances == 2


def test_the_fitted_temperature_is_written_to_both_towers(exported: Exported) -> None:
    temperatures = {
        parse_config((exported.repository / folder / "config.pbtxt").read_text(), folder).temperature
        for folder in ("tiny_image", "tiny_text")
    }
    assert len(temperatures) == 1
    assert temperatures != {1.0}


def test_the_tokenizer_file_alone_encodes_to_the_context_length(exported: Exported) -> None:
    tokenizer = Tokenizer.from_file(str(exported.repository / "tiny_text" / "tokenizer.json"))
    assert len(tokenizer.encode("a photo of a cat").ids) == exported.backbone.context_length


def test_a_tokenizer_of_another_length_is_refused(exported: Exported) -> None:
    from dataclasses import replace

    with pytest.raises(ExportError, match="24 ids, the text tower takes 30"):
        export_graphs(replace(exported.backbone, context_length=30))
