"""Table 7 as the page shows it: taken once, of one machine and one moment, and kept beside the units."""

import os
from pathlib import Path
from typing import Final

import torch
from pydantic import TypeAdapter, ValidationError

from training.adapters.timing import VIT_B_16, Load, table_7
from training.data.rows import DataError
from training.evaluate.adapters.bench import machine_of
from training.evaluate.adapters.report import Timing

TIMING: Final = "timing.json"
"""In the folder of units."""


def measure_timing(device: torch.device, load: Load = VIT_B_16) -> Timing:
    """Table 7 on `device`."""
    machine = f"{machine_of(device)}, {os.cpu_count()} processors"
    seconds = table_7(device, load)
    return Timing(machine, torch.get_num_threads(), load.batch, load.tokens, load.width, load.runs, seconds)


def keep_timing(folder: Path, timing: Timing) -> None:
    """Beside the units in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TIMING).write_bytes(TypeAdapter(Timing).dump_json(timing, indent=1) + b"\n")


def read_timing(folder: Path) -> Timing | None:
    """What `keep_timing` left, null for nothing. Raises `DataError` for anything else."""
    path = folder / TIMING
    if not path.is_file():
        return None
    try:
        return TypeAdapter(Timing).validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: not the timing of the adapters suite: {error}") from error
