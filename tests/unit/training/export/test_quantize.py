"""Static int8 image towers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch

from tests.unit.training.export.conftest import make_backbone
from training.export.errors import ExportError
from training.export.graph import Parity, export_graph, open_session, run_session
from training.export.quantize import CHUNK, MIN_MEAN_COSINE, CalibrationPictures, Pictures, quantize_image_tower
from training.export.random_weights import enliven
from training.export.towers import ImageTower
from training.models.towers import zoo_names

pytestmark = pytest.mark.torch


@dataclass(frozen=True)
class Quantised:
    """One architecture's image tower, before and after."""

    graph: onnx.ModelProto
    int8: onnx.ModelProto
    parity: Parity


def pictures(n: int, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["resnet", "vit"])
def quantised(request: pytest.FixtureRequest) -> Quantised:
    backbone = make_backbone(next(name for name in zoo_names() if name.startswith(request.param)))
    enliven(backbone.model, 64)
    tower = ImageTower(backbone.model, backbone.preprocessing.mean, backbone.preprocessing.std).eval()
    graph = export_graph(tower, torch.from_numpy(pictures(2)), "image")
    int8, parity = quantize_image_tower(graph, CalibrationPictures(fit=pictures(40), check=pictures(20, seed=1)))
    return Quantised(graph, int8, parity)


def test_embeddings_stay_close_to_the_float_towers(quantised: Quantised) -> None:
    new = pictures(20, seed=2)
    expected = run_session(open_session(quantised.graph), new)
    found = run_session(open_session(quantised.int8), new)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert (expected * found).sum(axis=1).mean() >= MIN_MEAN_COSINE
    assert quantised.parity.mean_cosine == pytest.approx((expected * found).sum(axis=1).mean(), abs=0.01)
    assert np.abs(expected - found).max() > 1e-4  # it is quantised


@pytest.mark.parametrize("n", [2, 7, 20])
def test_an_embedding_does_not_depend_on_its_neighbours(quantised: Quantised, n: int) -> None:
    session = open_session(quantised.int8)
    batch = pictures(n, seed=3)
    # Extremes beside it: whatever takes its scale from the batch would show it now.
    batch[-2:] = np.array([0, 255], dtype=np.uint8)[:, None, None, None]
    together = run_session(session, batch)
    alone = np.concatenate([run_session(session, picture[None]) for picture in batch])
    assert np.abs(together - alone).max() < 1e-5


def test_scales_are_constants_of_the_file(quantised: Quantised) -> None:
    operators = {node.op_type for node in quantised.int8.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert "DynamicQuantizeLinear" not in operators
    constants = {tensor.name for tensor in quantised.int8.graph.initializer}
    for node in quantised.int8.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert set(node.input[1:]) <= constants


def test_weights_take_a_byte_and_no_more_than_seven_bits(quantised: Quantised) -> None:
    weights = [t for t in quantised.int8.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    assert weights
    assert all(np.abs(onnx.numpy_helper.to_array(tensor)).max() <= 64 for tensor in weights)
    assert quantised.int8.ByteSize() < 0.4 * quantised.graph.ByteSize()


def test_inputs_and_outputs_stay_those_of_the_model_repository(quantised: Quantised) -> None:
    session = open_session(quantised.int8)
    assert [(i.name, i.type) for i in session.get_inputs()] == [("image", "tensor(uint8)")]
    assert [(o.name, o.type) for o in session.get_outputs()] == [("embedding", "tensor(float)")]


def test_too_few_pictures_are_refused(quantised: Quantised) -> None:
    with pytest.raises(ExportError, match=f"at least {CHUNK} pictures"):
        quantize_image_tower(quantised.graph, CalibrationPictures(fit=pictures(CHUNK - 1), check=pictures(5)))


def test_a_tower_that_does_not_survive_is_refused(quantised: Quantised) -> None:
    black = np.zeros((CHUNK, 64, 64, 3), dtype=np.uint8)
    with pytest.raises(ExportError, match="store this tower as float16"):
        quantize_image_tower(quantised.graph, CalibrationPictures(fit=black, check=pictures(5)))
