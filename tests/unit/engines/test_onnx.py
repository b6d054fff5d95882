from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from service.engines.onnx import OnnxEngine, OnnxOptions
from service.errors import ConfigurationError, RepositoryError
from service.repository import load_zoo
from tests.support.pipeline import Observations


def engine_on(repository: Path, provider: str = "CPUExecutionProvider") -> OnnxEngine:
    return OnnxEngine(load_zoo(repository), OnnxOptions((provider,), intra_op_threads=1, max_batch=8), Observations())


def put_model(repository: Path, tower: str, content: bytes) -> None:
    """Replace a tower's graph together with its digest, so that only ONNX Runtime can object."""
    path, config = repository / tower / "1/model.onnx", repository / tower / "config.pbtxt"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(content)
    config.write_text(config.read_text().replace(before, hashlib.sha256(content).hexdigest()))


async def test_a_file_that_is_no_graph_is_named(repository_copy: Path) -> None:
    put_model(repository_copy, "small_image", b"not a graph")
    with pytest.raises(RepositoryError, match=r"small_image/1/model\.onnx: ONNX Runtime cannot load it"):
        await engine_on(repository_copy).start()


async def test_a_graph_with_other_inputs_is_refused(repository_copy: Path) -> None:
    put_model(repository_copy, "small_image", (repository_copy / "small_text/1/model.onnx").read_bytes())
    with pytest.raises(RepositoryError, match=r'needs one input "image" \(uint8\)'):
        await engine_on(repository_copy).start()


async def test_a_graph_of_another_width_is_refused(repository_copy: Path) -> None:
    put_model(repository_copy, "small_text", (repository_copy / "large_text/1/model.onnx").read_bytes())
    with pytest.raises(RepositoryError, match=r"gives float32\[1, 12\], quorum\.embedding_dim says float32\[1, 8\]"):
        await engine_on(repository_copy).start()


async def test_a_graph_of_another_image_size_is_refused(repository_copy: Path) -> None:
    put_model(repository_copy, "small_image", (repository_copy / "large_image/1/model.onnx").read_bytes())
    with pytest.raises(RepositoryError, match=r"small_image/1/model\.onnx: fails on an input of shape \[32, 32, 3\]"):
        await engine_on(repository_copy).start()


async def test_an_execution_provider_that_is_not_there_is_named(fake_repository: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"names CUDAExecutionProvider.*extra `gpu`"):
        await engine_on(fake_repository, "CUDAExecutionProvider").start()


async def test_an_engine_can_be_closed_before_it_was_started(fake_repository: Path) -> None:
    await engine_on(fake_repository).close()
