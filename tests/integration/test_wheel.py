"""The wheel is what a container installs: it must hold everything the gateway serves, and nothing else of ours."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_gateway_and_its_page(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"service/app.py", "service/playground/index.html"} <= names
    assert {"service/playground/samples/samples.json", "service/playground/gallery/gallery.json"} <= names
    assert not [name for name in names if name.split("/")[0] in ("tests", "loadtest", "model_repository")]


def test_the_wheels_requirements_hold_no_torch_and_no_onnxruntime(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(metadata).decode().splitlines()
    required = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert required
    assert not [line for line in required if "torch" in line or "onnxruntime" in line]
