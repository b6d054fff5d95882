"""One exported backbone for the tests of this folder: exporting takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.unit.training.tiny_data import write_small_data
from training.data.captions import all_texts
from training.export.backbone import Backbone, BackboneGraphs, write_backbone
from training.models.tokenizer import train_tokenizer
from training.models.towers import build_model, zoo_preprocessing


@dataclass(frozen=True)
class Exported:
    """A backbone, its graphs and the repository they were written to."""

    backbone: Backbone
    graphs: BackboneGraphs
    repository: Path


def make_backbone(name: str) -> Backbone:
    """One of the zoo's configurations with random weights."""
    torch.manual_seed(0)
    model = build_model(name).eval()
    texts = all_texts((), "cat") + all_texts((), "dog")
    return Backbone(
        name="tiny",
        family="convnext",
        model=model,
        preprocessing=zoo_preprocessing(name),
        tokenizer=train_tokenizer(texts, vocab_size=400, context_length=model.context_length),
        context_length=model.context_length,
        logit_scale=14.0,
        provenance="made by a test",
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`convnext-s`, stored in half precision, temperature fitted on tiny data."""
    from training.export.temperature import temperature_fitter

    backbone = make_backbone("convnext-s")
    repository = tmp_path_factory.mktemp("repository")
    data = write_small_data(tmp_path_factory.mktemp("fit"))
    graphs = write_backbone(repository, backbone, precision="float16", fit_temperature=temperature_fitter(data))
    return Exported(backbone, graphs, repository)
