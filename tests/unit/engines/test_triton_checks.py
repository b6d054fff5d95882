"""Which configurations are the repository's own, and what is said of those that are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from service.engines.triton.checks import difference
from service.model_config import render_config
from service.repository import ImageTower, Zoo


@pytest.fixture
def tower(fake_zoo: Zoo) -> ImageTower:
    return fake_zoo.backbones[0].image


def reported(tower: ImageTower) -> pb.ModelConfig:
    """As Triton reports it: with defaults of its own."""
    config = text_format.Parse(render_config(tower.config), pb.ModelConfig())
    config.default_model_filename = "model.onnx"
    config.version_policy.latest.num_versions = 1
    config.dynamic_batching.preferred_batch_size.append(64)
    del config.instance_group[:]
    config.instance_group.add(name="small_image_0", count=4, kind=pb.ModelInstanceGroup.KIND_CPU)
    return config


def parameter(key: str, value: str) -> Callable[[pb.ModelConfig], None]:
    def change(config: pb.ModelConfig) -> None:
        config.parameters[key].string_value = value

    return change


def resized(config: pb.ModelConfig) -> None:
    config.input[0].dims[:] = [64, 64, 3]


def as_floats(config: pb.ModelConfig) -> None:
    config.input[0].data_type = pb.TYPE_FP32


def wider(config: pb.ModelConfig) -> None:
    config.output[0].dims[:] = [9]


def renamed(config: pb.ModelConfig) -> None:
    config.output[0].name = "features"


def smaller_batches(config: pb.ModelConfig) -> None:
    config.max_batch_size = 32


def without_mean(config: pb.ModelConfig) -> None:
    del config.parameters["quorum.mean"]


def test_what_triton_adds_makes_no_difference(tower: ImageTower) -> None:
    assert difference(tower, reported(tower), "here") is None


def test_numbers_may_be_written_differently(tower: ImageTower) -> None:
    config = reported(tower)
    config.parameters["quorum.logit_scale"].string_value = "2.0e1"
    config.parameters["quorum.mean"].string_value = "0.50, 0.5,.5"
    assert difference(tower, config, "here") is None


@pytest.mark.parametrize(
    ("change", "key", "theirs", "ours"),
    [
        (parameter("quorum.sha256", "ab" * 32), "quorum.sha256", "ab" * 32, ""),
        (parameter("quorum.temperature", "1.5"), "quorum.temperature", "1.5", "1.0"),
        (parameter("quorum.interpolation", "bilinear"), "quorum.interpolation", "bilinear", "bicubic"),
        (parameter("quorum.new", "x"), "quorum.new", "x", "nothing"),
        (without_mean, "quorum.mean", "nothing", "0.5,0.5,0.5"),
        (resized, "input", '"image" TYPE_UINT8 [64, 64, 3]', '"image" TYPE_UINT8 [32, 32, 3]'),
        (as_floats, "input", '"image" TYPE_FP32 [32, 32, 3]', '"image" TYPE_UINT8 [32, 32, 3]'),
        (wider, "output", '"embedding" TYPE_FP32 [9]', '"embedding" TYPE_FP32 [8]'),
        (renamed, "output", '"features" TYPE_FP32 [8]', '"embedding" TYPE_FP32 [8]'),
        (smaller_batches, "max_batch_size", "32", "64"),
    ],
)
def test_a_difference_names_tower_key_and_both_values(
    tower: ImageTower, change: Callable[[pb.ModelConfig], None], key: str, theirs: str, ours: str
) -> None:
    config = reported(tower)
    change(config)
    found = difference(tower, config, "here")
    assert found is not None
    assert found.startswith(f"small_image: {key} is {theirs} on Triton at here, and {ours or tower.config.sha256} in ")
