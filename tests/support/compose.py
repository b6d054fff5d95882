"""compose.yaml and what lies beside it, as tests read them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
GPU = ROOT / "compose.gpu.yaml"
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def services(path: Path = COMPOSE) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_yaml(path)["services"]
    return found


def dockerfile_of(service: dict[str, Any]) -> str:
    """The text of the Dockerfile that it is built from; empty where it is not built here."""
    if "build" not in service:
        return ""
    path: str = service["build"]["dockerfile"]
    return (ROOT / path).read_text(encoding="utf-8")


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A program that a package of the `test` extra put beside this interpreter."""
    command = [str(Path(sys.executable).parent / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)


def base_images(dockerfile: str) -> list[str]:
    """What its stages are made from, arguments replaced by their defaults, its own stages left out."""
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", dockerfile, re.MULTILINE)
    names = {name for _, name in stages}
    images = [re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], image) for image, _ in stages]
    return [image for image in images if image not in names]


def is_pinned(image: str) -> bool:
    """By a tag that names a version."""
    _, _, tag = image.rpartition("/")[2].partition(":")
    return bool(re.search(r"\d+\.\d+", tag))
