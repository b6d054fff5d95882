"""`quorum serve` as a process whose log goes to a file, so that it may write as much as it likes under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, free_port, wait_until_ready

STOP_LIMIT_S = 60.0


@contextmanager
def gateway_process(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Base URL of a ready gateway; it is ended in order afterwards, and has to end with 0."""
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    with log.open("ab") as written:
        process = subprocess.Popen(
            command, env=os.environ | dict(environment), cwd=ROOT, stdout=written, stderr=written
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, log)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_LIMIT_S) == 0, log.read_text()[-4000:]
    finally:
        process.kill()
        process.wait(STOP_LIMIT_S)
