"""Imports run one way: `api -> pipeline -> engines.base -> leaves`; only `app` names concrete engines and stores."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"
CONCRETE = (
    "service.engines.onnx",
    "service.engines.fake",
    "service.engines.workers",
    "service.engines.triton",
    "service.stores.limits",
    "service.stores.redis",
    "service.stores.sqlite",
    "service.stores.memory",
    "service.stores.tiered",
    "service.galleries.milvus",
    "service.galleries.none",
    "service.observability.otlp",
)
LEAVES = {
    "deadline",
    "errors",
    "keys",
    "keys_editing",
    "keys_file",
    "liveness",
    "model_config",
    "policies",
    "repository",
    "settings",
    "timings",
    "trail",
}
HEAVY = {"torch", "torchvision", "open_clip", "timm", "training"}


def modules() -> list[Path]:
    return sorted(path for path in SERVICE.rglob("*.py") if "__pycache__" not in path.parts)


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def is_concrete(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in CONCRETE)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_module_of_the_service_imports_torch_or_training(path: Path) -> None:
    assert not HEAVY & {name.split(".")[0] for name in imported_by(path)}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_composition_root_names_concrete_engines_and_stores(path: Path) -> None:
    own = name_of(path)
    if own == "service.app" or is_concrete(own):
        return
    assert not [name for name in imported_by(path) if is_concrete(name)]


@pytest.mark.parametrize("path", [SERVICE / f"{leaf}.py" for leaf in sorted(LEAVES)], ids=name_of)
def test_leaves_import_leaves_alone(path: Path) -> None:
    ours = [name for name in imported_by(path) if name.startswith("service")]
    assert {name.split(".")[1] for name in ours} <= LEAVES


@pytest.mark.parametrize("layer", ["pipeline", "engines", "stores", "galleries", "jobs"])
def test_nothing_below_the_api_imports_it(layer: str) -> None:
    for path in (SERVICE / layer).rglob("*.py"):
        assert not [name for name in imported_by(path) if name.startswith(("service.api", "service.app", "fastapi"))]


def test_engines_know_nothing_of_the_pipeline() -> None:
    for path in (SERVICE / "engines").rglob("*.py"):
        assert not [name for name in imported_by(path) if name.startswith("service.pipeline")]


def test_gallery_stores_know_nothing_of_the_pipeline() -> None:
    for path in (SERVICE / "galleries").rglob("*.py"):
        assert not [name for name in imported_by(path) if name.startswith("service.pipeline")]


def test_load_tests_import_nothing_of_ours() -> None:
    for path in (ROOT / "loadtest").rglob("*.py"):
        assert not {"service", "training"} & {name.split(".")[0] for name in imported_by(path)}


def test_only_the_module_that_delivers_traces_names_opentelemetry() -> None:
    for path in modules():
        names = [name for name in imported_by(path) if name.startswith("opentelemetry")]
        assert not names or name_of(path) == "service.observability.otlp", path


def test_only_settings_reads_the_environment() -> None:
    for path in modules():
        source = path.read_text(encoding="utf-8")
        assert "os.environ" not in source or path.name == "settings.py", path
        assert "getenv" not in source, path


def test_importing_the_application_leaves_torch_and_milvus_out() -> None:
    heavy = "{'torch', 'training', 'open_clip', 'pymilvus', 'milvus_lite', 'pandas', 'opentelemetry.sdk.trace'}"
    check = f"import sys, service.app; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
