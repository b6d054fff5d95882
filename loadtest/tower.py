"""A ViT-B-32 sized tower, made on demand: nothing that large is committed, and speed does not depend on the weights."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

MODEL = "ViT-B-32"
EXPORT = (sys.executable, "-m", "training", "export", f"{MODEL}:openai", "--random-weights", "--out")


class NoTowerError(Exception):
    """The tower cannot be made here; the message says what is missing."""


def export_tower(folder: Path) -> Path:
    """Have OpenCLIP's ViT-B-32 with random weights exported into a new model repository `folder`.

    Raises `NoTowerError` without the `training` extra (the export needs torch) and when the export fails.
    """
    if importlib.util.find_spec("torch") is None:
        raise NoTowerError(f"{MODEL} is exported with torch: install the extra `training`, or name one with --tower.")
    done = subprocess.run([*EXPORT, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).splitlines()[-5:])
        raise NoTowerError(f"The export of {MODEL} ended with code {done.returncode}.\n{last}")
    return folder
