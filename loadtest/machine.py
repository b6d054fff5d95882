"""What a result has to say about where it came from: the machine, the versions, the zoo."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES: tuple[str, ...] = ("quorum-serve", "onnxruntime", "onnxruntime-gpu", "numpy", "pillow")
PACKAGES += ("fastapi", "pydantic", "uvicorn", "uvloop")
GIB = 1 << 30


def machine() -> dict[str, Any]:
    """The hardware and the operating system, without anything that names one particular host."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cpu_features": _cpu_features(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / GIB, 1),
        "os": _os_name(),
        "kernel": re.sub(r"[^0-9.].*", "", platform.release()),
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def slug(facts: dict[str, Any], found: dict[str, str]) -> str:
    """`ort1.31.1-py3.11-amd-epyc-2-cores`: the part of a result's file name that says with what and where."""
    runtime = found.get("onnxruntime") or found.get("onnxruntime-gpu", "none")
    python = ".".join(found["python"].split(".")[:2])
    cpu = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(\w+\)|CPU|Processor|@.*", "", facts["cpu"]).lower()).strip("-")
    return f"ort{runtime}-py{python}-{cpu}-{facts['cores']}-cores"


def without_folders(arguments: Sequence[str]) -> str:
    """A command line with absolute paths cut down to their last part: where a folder lay is nobody's business."""
    return " ".join(Path(argument).name if argument.startswith("/") else argument for argument in arguments)


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cpu_features() -> list[str]:
    """Those of the CPU's instruction sets that decide how fast a tower runs."""
    found = re.search(r"^flags\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    known = set(found[1].split()) if found else set()
    return [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16") if name in known]


def _os_name() -> str:
    found = re.search(r'^PRETTY_NAME="(.+)"$', _read("/etc/os-release"), re.MULTILINE)
    return found[1] if found else platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
