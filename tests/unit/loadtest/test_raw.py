"""The baseline runs what the gateway runs, on the tensors that the JPEGs become."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest import raw


def jpeg_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_tensor_is_the_centre_of_the_picture_at_the_towers_size() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255
    found = raw.tensor(jpeg_of(pixels), 32)
    assert (found.shape, found.dtype) == ((32, 32, 3), np.dtype(np.uint8))
    assert found[:, 4:-4].min() > 240


def test_tower_embeds_a_batch(fake_repository: Path) -> None:
    tower = raw.RawTower(fake_repository, "large", threads=1)
    assert tower.image_size == 48
    images = np.random.default_rng(0).integers(0, 255, (3, 48, 48, 3), np.uint8)
    np.testing.assert_allclose(np.linalg.norm(tower.run(images), axis=1), 1.0, rtol=1e-5)


def test_backbones_and_precision_are_read_from_the_repository(fake_repository: Path) -> None:
    assert raw.backbones(fake_repository) == ["large", "small"]
    assert raw.precision(fake_repository) == "float32"


def test_a_graph_with_quantised_operators_is_int8_and_a_zoo_of_both_is_mixed(tmp_path: Path) -> None:
    for name, operator in (("a", b"..QuantizeLinear.."), ("b", b"..Conv..")):
        path = raw.model_path(tmp_path, name)
        path.parent.mkdir(parents=True)
        path.write_bytes(operator)
    assert raw.precision(tmp_path) == "mixed"
    raw.model_path(tmp_path, "b").unlink()
    assert raw.precision(tmp_path) == "int8"


@pytest.mark.parametrize("layout", [raw.Layout(1, 2, 4), raw.Layout(2, 1, 1)])
def test_throughput_counts_images_and_ends_by_itself(fake_repository: Path, layout: raw.Layout) -> None:
    tower = raw.RawTower(fake_repository, "small", layout.threads)
    images = np.zeros((8, 32, 32, 3), np.uint8)
    assert raw.throughput(tower, images, layout, duration_s=0.2) > layout.batch / 0.2
