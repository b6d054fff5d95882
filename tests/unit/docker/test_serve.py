"""How the Triton server from the wheel is started: what it is told, and what is left behind by one before it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.compose import ROOT
from tests.support.triton import SERVE

BACKEND = ROOT / "docker/triton/backends/onnxruntime/model.py"
TWO_INSTANCES: dict[str, Any] = {"parameters": {}, "instance_group": [{"count": 2}]}


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def serve() -> ModuleType:
    return module_at(SERVE)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    return module_at(BACKEND)


def command(serve: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["serve.py", *arguments])
    given: list[str] = serve.server_command(Path("tritonserver"), serve.parse_options())
    return given


def about_models(given: list[str]) -> list[str]:
    return [each for each in given if each.startswith(("--model-control-mode", "--load-model"))]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], []),
        (["--explicit"], ["--model-control-mode=explicit", "--load-model=*"]),
        (
            ["--load-model", "vit-s_image", "--load-model=vit-s_text"],
            ["--model-control-mode=explicit", "--load-model=vit-s_image", "--load-model=vit-s_text"],
        ),
        (["--explicit", "--load-model", "vit-s_image"], ["--model-control-mode=explicit", "--load-model=vit-s_image"]),
    ],
)
def test_models_that_are_named_are_loaded_alone(
    serve: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: list[str]
) -> None:
    assert about_models(command(serve, monkeypatch, *arguments)) == told


def test_a_quota_is_what_threads_are_counted_from(
    serve: ModuleType, backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--model-load-thread-count=6" in command(serve, monkeypatch, "--cores=6")
    assert backend.CORES == serve.CORES
    monkeypatch.setenv(serve.CORES, "6")
    assert backend._threads(TWO_INSTANCES) == 3
    monkeypatch.setenv(serve.CORES, "1")
    assert backend._threads(TWO_INSTANCES) == 1
    chosen = TWO_INSTANCES | {"parameters": {"intra_op_thread_count": {"string_value": "5"}}}
    assert backend._threads(chosen) == 5


def test_shared_memory_of_a_server_before_this_one_is_removed_and_nobody_elses(serve: ModuleType) -> None:
    mine, other = Path("/dev/shm", f"{serve.SHARED_MEMORY}left"), Path("/dev/shm", f"x{serve.SHARED_MEMORY}left")
    try:
        for path in (mine, other):
            path.touch()
        serve.remove_shared_memory()
        assert (mine.exists(), other.exists()) == (False, True)
    finally:
        other.unlink()
