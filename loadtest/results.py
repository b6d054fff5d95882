"""A result as a committed file: what ran, with what, on which machine, and what came out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest import machine, raw

Result = dict[str, Any]
EXTERNAL = "external"


def describe(scenario: str, zoo: dict[str, Any], settings: dict[str, Any], command: str) -> Result:
    """Everything about a measurement but its runs. `zoo` is of one of the functions below."""
    return {
        "scenario": scenario,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "machine": machine.machine(),
        "versions": machine.versions(),
        "zoo": zoo,
        "settings": settings,
    }


def zoo_of(repository: Path, info: dict[str, Any]) -> dict[str, Any]:
    """What was served here; `info` is the gateway's `GET /info`."""
    return {
        "repository": repository.name,
        "precision": raw.precision(repository),
        "backbones": raw.backbones(repository),
        "info": info,
    }


def zoo_elsewhere(info: dict[str, Any]) -> dict[str, Any]:
    """What an external gateway says that it serves."""
    return {"repository": EXTERNAL, "precision": None, "backbones": sorted(info.get("backbones", ())), "info": info}


def file_name(result: Result) -> str:
    """`closed-model_repository-int8-ort1.31.1-py3.11-amd-epyc-2-cores.json`. The address of an external gateway is
    nobody's business: its zoo's digest and engine are named, and the generator's machine."""
    zoo = result["zoo"]
    place = machine.slug(result["machine"], result["versions"])
    if zoo["repository"] == EXTERNAL:
        info = zoo["info"]
        return f"{result['scenario']}-{EXTERNAL}-{info['zoo_digest'][:12]}-{info['engine']}-from-{place}.json"
    return f"{result['scenario']}-{zoo['repository']}-{zoo['precision']}-{place}.json"


def write(result: Result, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(result)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def read_all(folder: Path) -> dict[str, Result]:
    """Every committed result by file name."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
