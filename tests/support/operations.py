"""docs/operations.md for tests: its headings and its commands, to be run in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT
from tests.support.redis import redis_server

PAGE = ROOT / "docs/operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
RUN_LIMIT_S = 120


def section(heading: str, level: int = 2) -> str:
    """What stands under a heading, to the next one that is no deeper."""
    marks = "#" * level
    found = re.search(rf"^{marks} {re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{PAGE.name} has no section {heading}"
    return found[1]


def blocks(text: str, kind: str = "sh") -> list[str]:
    """The code blocks of one kind, each as it stands but for the indentation of a list."""
    found = re.findall(rf"^( *)```{kind}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def run(script: str, changes: Mapping[str, str]) -> str:
    """What a block prints, run as it stands but for `changes`: the test's own places in the page's stead."""
    programs = {".venv/bin/": f"{Path(sys.executable).parent}/", "python3 ": f"{sys.executable} "}
    for ours, theirs in (programs | dict(changes)).items():
        script = script.replace(ours, theirs)
    path = f"{os.environ['PATH']}:{Path(redis_server()).parent}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
    return result.stdout
