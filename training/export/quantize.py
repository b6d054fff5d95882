"""Image towers in int8: static quantisation, so that an embedding never depends on the rest of its batch."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from training.export.errors import ExportError
from training.export.graph import Parity, distance, open_session, run_session, strip
from training.models.quiet import only_errors

# What holds nearly all weights and work. Everything between (normalisation, softmax, activations, products of two
# activations) stays in float32: quantising it as well is neither faster nor as close.
QUANTISED_OPS = ("Conv", "Gemm", "MatMul")
# Rare extremes would widen the steps for everybody else.
PERCENTILE = 99.99
# Activations of one chunk are in memory together.
CHUNK = 16
MIN_MEAN_COSINE = 0.98

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CalibrationPictures:
    """Pictures that set the scales, and others that show what came of it; uint8[n, size, size, 3] each."""

    fit: Pictures
    check: Pictures


class _Reader:
    """Hands the calibration one chunk at a time, through the interface that `quantize_static` asks for."""

    def __init__(self, input_name: str, pictures: Pictures) -> None:
        self._input_name = input_name
        self._pictures = pictures
        self.set_range(0, len(pictures))

    def __len__(self) -> int:
        return len(self._pictures)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._pending = [self._pictures[start_index:end_index]]

    def get_next(self) -> dict[str, Pictures] | None:
        return {self._input_name: self._pending.pop()} if self._pending else None


def quantize_image_tower(graph: onnx.ModelProto, pictures: CalibrationPictures) -> tuple[onnx.ModelProto, Parity]:
    """`graph` with int8 weights (one scale per output channel) and uint8 activations (scales fixed by
    `pictures.fit`), and its distance from `graph` on `pictures.check`.

    Weights keep to 7 bits: processors without VNNI add products in 16 bits, which would overflow without a word.
    Raises `ExportError` if embeddings turn too far.
    """
    count = len(pictures.fit) // CHUNK * CHUNK
    if not count or not len(pictures.check):
        raise ExportError(f"int8 needs at least {CHUNK} pictures to calibrate on and one to check, of the fit split.")
    reader = _Reader(graph.graph.input[0].name, pictures.fit[:count])
    with tempfile.TemporaryDirectory() as folder, _quiet():
        # Given the graph itself, the quantiser would move its weights out into a file of its own.
        source, path = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        quantize_static(
            source,
            path,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED_OPS),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"MatMulConstBOnly": True, "CalibPercentile": PERCENTILE, "CalibStridedMinMax": CHUNK},
        )
        quantised = strip(onnx.load(path))
    return quantised, _checked_distance(graph, quantised, pictures.check)


def _checked_distance(graph: onnx.ModelProto, quantised: onnx.ModelProto, pictures: Pictures) -> Parity:
    expected, found = (_embeddings(model, pictures) for model in (graph, quantised))
    result = distance(expected, found)
    if not result.mean_cosine >= MIN_MEAN_COSINE:  # written so that NaN fails as well
        raise ExportError(
            f"In int8 the mean cosine to the float32 embeddings falls to {result.mean_cosine:.4f} "
            f"(limit {MIN_MEAN_COSINE}): store this tower as float16."
        )
    return result


def _embeddings(graph: onnx.ModelProto, pictures: Pictures) -> npt.NDArray[np.float32]:
    session = open_session(graph)
    return np.concatenate(
        [run_session(session, pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)]
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser prints its progress, and advises a preparation whose shape inference fails on these graphs."""
    with only_errors(), redirect_stdout(StringIO()):
        yield
