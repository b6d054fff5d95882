"""Towers to ONNX: export, storage in half precision, and parity with torch."""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from training.export.errors import ExportError
from training.models.quiet import only_errors

MAX_DIFFERENCE = 1e-4
# Protobuf refuses messages of 2 GiB; the rest is room for the graph itself.
MAX_WEIGHT_BYTES = 2_000_000_000
# Below this many elements the saved bytes do not pay for the extra node.
MIN_HALF_ELEMENTS = 256
EXPORTED_OUTPUT = "unit_embedding"


@dataclass(frozen=True)
class Parity:
    """Distance of embeddings from those they stand for: the largest difference of a component, mean and smallest
    cosine."""

    max_difference: float
    mean_cosine: float
    min_cosine: float


def export_graph(tower: nn.Module, example: Tensor, input_name: str) -> onnx.ModelProto:
    """The tower as an ONNX graph with one input, one output `embedding` and a free first axis.

    `example` has at least two rows: with one, the exporter would take the axis for a constant. Raises `ExportError`
    for a tower that does not fit into one file.
    """
    fastpath = torch.backends.mha.get_fastpath_enabled()
    # The fused attention of inference has no ONNX counterpart.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            warnings.catch_warnings(),
            only_errors(),
        ):  # the exporter warns about its own internals, not about our graph
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                tower.eval(),
                (example,),
                input_names=[input_name],
                output_names=[EXPORTED_OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},),
                dynamo=True,
                verbose=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    if program is None:
        raise ExportError("The ONNX exporter returned nothing.")
    # Counted here because a tower's module holds the whole model; the graph has what the tower uses.
    tensors = [value.const_value for value in program.model.graph.initializers.values()]
    weight_bytes = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if weight_bytes > MAX_WEIGHT_BYTES:
        raise ExportError(f"This tower's weights take {weight_bytes / 1e9:.1f} GB; one ONNX file can hold 2 GB.")
    return name_output(strip(program.model_proto))


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what serving does not need: source locations, intermediate shapes, documentation. In place."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    return model


def name_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """Call the output `embedding`, in place.

    The exporter names the rows of a token embedding just so; asking it for that output name gives a graph with the name
    defined twice. Whatever bears the name inside is renamed first.
    """
    names = {"embedding": "embedding_inner", EXPORTED_OUTPUT: "embedding"}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    model.graph.output[0].name = "embedding"
    return model


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large weights are stored as float16 and cast to float32 in the graph.

    ONNX Runtime folds the casts when it loads the file, so computing stays in float32 and only the file shrinks.
    Tensors outside float16's range stay as they are.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    casts = []
    for tensor in half.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < MIN_HALF_ELEMENTS:
            continue
        values = numpy_helper.to_array(tensor)
        if not np.abs(values).max() <= np.finfo(np.float16).max:  # the causal mask holds -inf; leave such tensors alone
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    onnx.checker.check_model(half)
    return half


def open_session(model: onnx.ModelProto | str) -> ort.InferenceSession:
    """A CPU session on a graph in memory or on the file at a path."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    source = model if isinstance(model, str) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_session(session: ort.InferenceSession, batch: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Embeddings of one batch: float32[n, d]."""
    (embedding,) = session.run(["embedding"], {session.get_inputs()[0].name: batch})
    return np.asarray(embedding, dtype=np.float32)


def distance(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> Parity:
    """How far unit rows `found` are from `expected`, both float32[n, d]."""
    cosines = (expected * found).sum(axis=1)
    return Parity(float(np.abs(expected - found).max()), float(cosines.mean()), float(cosines.min()))


@torch.no_grad()
def parity(tower: nn.Module, model: onnx.ModelProto, batch: Tensor) -> Parity:
    """Distance between torch and ONNX Runtime on `batch`."""
    return distance(tower(batch).numpy(), run_session(open_session(model), batch.numpy()))


def checked_parity(tower: nn.Module, model: onnx.ModelProto, batch: Tensor) -> Parity:
    """As `parity`; raises `ExportError` above `MAX_DIFFERENCE` in any component."""
    result = parity(tower, model, batch)
    if not result.max_difference <= MAX_DIFFERENCE:  # written so that NaN fails as well
        raise ExportError(
            f"ONNX Runtime and torch differ by {result.max_difference:.1e}, the limit is {MAX_DIFFERENCE:.0e}."
        )
    return result
