"""What a gallery has acknowledged is there after `kill -9`, at whatever moment: in a flush, a compaction, an index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS = 50
SEED = 20


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """Each round opens the folder, compares all of it with what was acknowledged, writes on, and is killed."""
    command = [
        sys.executable,
        "-m",
        "tests.support.gallery_killing",
        str(tmp_path / "galleries.db"),
        str(SEED),
        str(ROUNDS),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["acknowledged"] > ROUNDS
    assert told["items"]["kept"] > 0
