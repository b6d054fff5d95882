"""DPT as an expert for disparity and for normals, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DPTConfig, DPTForDepthEstimation
from typer.testing import CliRunner

from training.experts.__main__ import app
from training.experts.errors import ExpertError
from training.experts.known import load_expert
from training.experts.labels.store import LabelStore
from training.experts.protocol import Kind, check_maps
from training.experts.ready_made import dpt
from training.experts.ready_made.dpt import DptDisparity, DptNormals, load_dpt, load_dpt_normals

pytestmark = pytest.mark.torch

SMALL = DPTConfig(
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=2,
    intermediate_size=64,
    image_size=32,
    patch_size=16,
    backbone_out_indices=[0, 1, 2, 3],
    neck_hidden_sizes=[8, 16, 32, 32],
    fusion_hidden_size=16,
)
"""DPT of the size of a thumbnail: every kind of layer that the real one has."""

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)


def _random_model() -> DPTForDepthEstimation:
    torch.manual_seed(0)
    model = DPTForDepthEstimation(SMALL)
    # The last layer is a rectifier behind weights near zero: lift it, so that there is something to see.
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.copy_(torch.rand_like(parameter) - (0.3 if parameter.ndim > 1 else 0))
    return model


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub would hand it out."""
    folder = tmp_path_factory.mktemp("dpt")
    _random_model().save_pretrained(folder)
    return folder


def test_pictures_become_disparities() -> None:
    expert = DptDisparity(_random_model(), "random")
    maps = expert(IMAGES)
    check_maps(maps, IMAGES, expert.identity)
    assert expert.identity.kind is Kind.DISPARITY
    assert np.isfinite(maps).all()
    assert maps.std(axis=(1, 2)).min() > 0
    assert np.allclose(maps[1:2], expert(IMAGES[1:2]), atol=1e-4)


def test_normals_follow_from_them() -> None:
    expert = DptNormals(DptDisparity(_random_model(), "random"))
    maps = expert(IMAGES)
    check_maps(maps, IMAGES, expert.identity)
    assert np.allclose(np.linalg.norm(maps, axis=-1), 1, atol=1e-5)
    assert expert.identity.kind is Kind.NORMALS
    assert expert.identity.name == "dpt-normals"


def test_weights_are_loaded_by_name(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpt, "HUB_NAME", str(hub))
    loaded, own = load_expert("dpt"), DptDisparity(_random_model(), "random")
    assert loaded.identity.digest == own.identity.digest
    assert np.allclose(loaded(IMAGES), own(IMAGES), atol=1e-5)
    assert load_dpt_normals(torch.device("cpu")).identity.digest == own.identity.digest


def test_without_a_network_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to the hub\nand say so in several lines")

    monkeypatch.setattr(DPTForDepthEstimation, "from_pretrained", refuse)
    with pytest.raises(ExpertError) as caught:
        load_dpt(torch.device("cpu"))
    assert str(caught.value) == (
        "the weights of dpt (Intel/dpt-large) cannot be fetched from the Hugging Face hub: "
        "We couldn't connect to the hub."
    )


def test_the_command_labels_sources(
    hub: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpt, "HUB_NAME", str(hub))
    options = ["label", "--data", str(small_data), "--source", "objects", "--out", str(tmp_path), "--size", "32"]
    options += ["--device", "cpu", "--expert", "dpt-normals"]
    halves = [CliRunner().invoke(app, [*options, "--shard", f"{i}/2"]) for i in range(2)]
    assert [half.exit_code for half in halves] == [0, 0], halves[0].output
    store = LabelStore(tmp_path / "dpt-normals")
    assert len(store) > 10
    assert store.description.geometry == "shortest-32-bicubic"
    again = CliRunner().invoke(app, options)
    assert f"0 labelled, 0 failed, {len(store)} known already" in again.stdout
