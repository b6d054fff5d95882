"""Exported graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from tests.unit.training.export.conftest import Exported
from training.export.errors import ExportError
from training.export.graph import MAX_DIFFERENCE, checked_parity, export_graph, open_session, run_session
from training.export.towers import ImageTower

pytestmark = pytest.mark.torch


def _pictures(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


def test_large_weights_are_stored_in_half_precision_and_nothing_else(exported: Exported) -> None:
    tensors = exported.graphs.image.model.graph.initializer
    floats = sum(int(np.prod(t.dims)) for t in tensors if t.data_type == onnx.TensorProto.FLOAT)
    halves = sum(int(np.prod(t.dims)) for t in tensors if t.data_type == onnx.TensorProto.FLOAT16)
    assert halves > 50 * floats


def test_inputs_and_outputs_are_those_of_the_model_repository(exported: Exported) -> None:
    image = open_session(exported.graphs.image.model)
    text = open_session(exported.graphs.text.model)
    assert [(i.name, i.type, i.shape[1:]) for i in image.get_inputs()] == [("image", "tensor(uint8)", [64, 64, 3])]
    assert [(i.name, i.type, i.shape[1:]) for i in text.get_inputs()] == [("input_ids", "tensor(int64)", [24])]
    for session in (image, text):
        assert [(o.name, o.type, o.shape[1:]) for o in session.get_outputs()] == [("embedding", "tensor(float)", [256])]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_any_batch_size_gives_unit_rows(exported: Exported, n: int) -> None:
    rows = run_session(open_session(exported.graphs.image.model), _pictures(n))
    assert rows.shape == (n, 256)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(exported: Exported) -> None:
    session = open_session(exported.graphs.image.model)
    pictures = _pictures(6)
    together = run_session(session, pictures)
    alone = np.concatenate([run_session(session, picture[None]) for picture in pictures])
    assert np.abs(together - alone).max() < 1e-5


def test_no_trace_of_the_exporting_machine_stays_in_the_file(exported: Exported) -> None:
    content = exported.graphs.image.model.SerializeToString()
    assert b"site-packages" not in content
    assert b"Traceback" not in content
    assert b".py" not in content


def test_a_graph_of_other_weights_is_refused(exported: Exported) -> None:
    preprocessing = exported.backbone.preprocessing
    other = ImageTower(exported.backbone.model, (0.1, 0.1, 0.1), preprocessing.std).eval()
    with pytest.raises(ExportError, match=f"{MAX_DIFFERENCE:.0e}"):
        checked_parity(other, exported.graphs.image.model, torch.from_numpy(_pictures(2)))


class PartOfAModel(torch.nn.Module):
    """A tower that holds the whole model and uses a part of it, as both towers of a CLIP do."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(1000, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.used(x)
        return found


def test_a_tower_is_refused_by_its_own_weights_and_not_by_the_whole_models(monkeypatch: pytest.MonkeyPatch) -> None:
    used_bytes = 8 * 8 * 4
    monkeypatch.setattr("training.export.graph.MAX_WEIGHT_BYTES", used_bytes)
    export_graph(PartOfAModel(), torch.zeros(2, 8), "x")
    monkeypatch.setattr("training.export.graph.MAX_WEIGHT_BYTES", used_bytes - 1)
    with pytest.raises(ExportError, match="one ONNX file can hold 2 GB"):
        export_graph(PartOfAModel(), torch.zeros(2, 8), "x")
