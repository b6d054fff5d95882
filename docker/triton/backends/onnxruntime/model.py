"""ONNX Runtime as a Python-based backend of Triton, for machines that have no NVIDIA image.

It lies in the backend directory as `onnxruntime/model.py`, so that a model folder which NVIDIA's native backend takes
(`platform: "onnxruntime_onnx"`, `1/model.onnx`) loads unchanged. Each model instance is a process with a session of
its own. What it adds to the native one: a model whose file is not the one that `quorum.sha256` names is not loaded,
and a batch that fails is run again request by request.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

TRITON_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}
ERRORS_ONLY = 3
CORES = "QUORUM_TRITON_CORES"
"""As `serve.py` sets it: affinity says nothing of a container's quota."""
IDLE_S = 0.002
"""An instance that had nothing to do for so long took its requests as they came."""


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        """Raises `TritonModelException`, and the model is not loaded, when file and configuration disagree."""
        config = json.loads(args["model_config"])
        path = Path(pb_utils.get_model_dir()) / (config["default_model_filename"] or "model.onnx")
        _check_digest(config, path)
        self._session = _open_session(config, path)
        _check_tensors(config, self._session)
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._ended_s = 0.0
        pb_utils.Logger.log_info(f"{args['model_instance_name']}: on ONNX Runtime {ort.__version__}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order. Requests that the batcher put together are run as one batch."""
        responses: list[Any] = [None] * len(requests)
        live = []
        # Asking the server takes as long as reading a picture; who did not wait has hardly left.
        waited = time.monotonic() - self._ended_s < IDLE_S
        for index, request in enumerate(requests):
            if waited and request.is_cancelled():
                responses[index] = _error("the caller gave up", pb_utils.TritonError.CANCELLED)
            else:
                live.append((index, request, self._read(request)))
        for (index, request, _), answer in zip(live, self._answers([feed for _, _, feed in live]), strict=True):
            responses[index] = answer if not isinstance(answer, list) else self._respond(request, answer)
        self._ended_s = time.monotonic()
        return responses

    def finalize(self) -> None:
        del self._session

    def _read(self, request: Any) -> list[np.ndarray]:
        # `as_numpy` of the server's stub was built for numpy 1 and silently gives other numbers under numpy 2.
        return [np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in self._inputs]

    def _answers(self, feeds: list[list[np.ndarray]]) -> list[Any]:
        """Per request its output arrays, or the response that says why there are none."""
        if not feeds:
            return []
        try:
            together = [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*feeds, strict=True)]
            outputs = self._session.run(self._outputs, dict(zip(self._inputs, together, strict=True)))
        except Exception as error:  # the binding's exceptions have no public base class
            if len(feeds) > 1:  # one request may be to blame: alone, the others are answered
                return [answer for feed in feeds for answer in self._answers([feed])]
            return [_error(f"ONNX Runtime failed: {error}")]
        ends = np.cumsum([len(feed[0]) for feed in feeds])[:-1]
        return [list(parts) for parts in zip(*[np.split(output, ends) for output in outputs], strict=True)]

    def _respond(self, request: Any, arrays: list[np.ndarray]) -> Any:
        wanted = set(request.requested_output_names())
        # `Tensor(name, array)` sends nothing under numpy 2; DLPack does.
        tensors = [
            pb_utils.Tensor.from_dlpack(name, _Handed(np.ascontiguousarray(array)))
            for name, array in zip(self._outputs, arrays, strict=True)
            if name in wanted
        ]
        return pb_utils.InferenceResponse(tensors)


class _Handed:
    """An array that the server's stub takes over by DLPack, and frees.

    The stub marks a capsule as taken in a way that numpy's destructor of capsules does not know: left in place, that
    would find nothing of its own and print a traceback for every answer.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self._array.__dlpack__(**options)
        ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


def _error(message: str, code: int | None = None) -> Any:
    error = pb_utils.TritonError(message) if code is None else pb_utils.TritonError(message, code)
    return pb_utils.InferenceResponse(error=error)


def _parameter(config: dict[str, Any], key: str) -> str | None:
    entry = config["parameters"].get(key)
    return None if entry is None else entry["string_value"]


def _check_digest(config: dict[str, Any], path: Path) -> None:
    expected = _parameter(config, "quorum.sha256")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected not in (None, found):
        raise pb_utils.TritonModelException(f"{path}: its sha256 is {found}, quorum.sha256 says {expected}")


def _open_session(config: dict[str, Any], path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = _threads(config)
    options.inter_op_num_threads = 1
    # A spinning pool burns the cores that the other instances need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _threads(config: dict[str, Any]) -> int:
    """The native backend's parameter where it is set, else this instance's share of the cores."""
    chosen = _parameter(config, "intra_op_thread_count")
    if chosen is not None:
        return int(chosen)
    instances = sum(max(1, group["count"]) for group in config["instance_group"]) or 1
    cores = int(os.environ.get(CORES) or len(os.sched_getaffinity(0)))
    return max(1, cores // instances)


def _check_tensors(config: dict[str, Any], session: ort.InferenceSession) -> None:
    """Requests are put together along the first axis, so the graph has to have one that is free."""
    name = config["name"]
    if config["max_batch_size"] < 1:
        raise pb_utils.TritonModelException(f"{name}: max_batch_size must be at least 1")
    for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
        wanted = {each["name"]: (each["data_type"], [int(size) for size in each["dims"]]) for each in config[kind]}
        for tensor in tensors:
            found = (TRITON_TYPES.get(tensor.type, tensor.type), tensor.shape[1:])
            if kind == "output" and tensor.name not in wanted:
                continue
            if isinstance(tensor.shape[0], int):
                raise pb_utils.TritonModelException(f'{name}: the batch size of "{tensor.name}" is fixed')
            if wanted.pop(tensor.name, None) != found and all(isinstance(size, int) for size in found[1]):
                raise pb_utils.TritonModelException(f'{name}: {kind} "{tensor.name}" of the graph is {found}')
        if wanted:
            raise pb_utils.TritonModelException(f"{name}: the graph has no {kind} {', '.join(wanted)}")
