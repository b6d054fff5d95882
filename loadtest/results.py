"""A result as a committed file: what ran, with what, on which machine, and what came out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest import machine, raw

Result = dict[str, Any]


def describe(scenario: str, repository: Path, info: dict[str, Any], settings: dict[str, Any], command: str) -> Result:
    """Everything about a measurement but its runs. `info` is the gateway's `GET /info`."""
    return {
        "scenario": scenario,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "machine": machine.machine(),
        "versions": machine.versions(),
        "zoo": {
            "repository": repository.name,
            "precision": raw.precision(repository),
            "backbones": raw.backbones(repository),
            "info": info,
        },
        "settings": settings,
    }


def file_name(result: Result) -> str:
    """`closed-int8-model_repository-ort1.31.1-py3.11-amd-epyc-2-cores.json`"""
    zoo = result["zoo"]
    place = machine.slug(result["machine"], result["versions"])
    return f"{result['scenario']}-{zoo['repository']}-{zoo['precision']}-{place}.json"


def write(result: Result, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(result)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def read_all(folder: Path) -> dict[str, Result]:
    """Every committed result by file name."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
