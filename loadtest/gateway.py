"""A gateway of our own on 127.0.0.1: started, timed until ready, watched through /proc, and stopped again."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loadtest.connection import Pool

HOST = "127.0.0.1"
COMMAND = (sys.executable, "-m", "service.cli", "serve")
POLL_S = 0.01
READY_WITHIN_S = 180.0
STOP_WITHIN_S = 20.0
LOG_TAIL_LINES = 15


class GatewayError(Exception):
    """The gateway did not start; the message ends with what it said last."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the process and its children: memory in MiB, CPU in seconds since the start."""

    rss_mib: float
    peak_rss_mib: float
    cpu_s: float


class Target(Protocol):
    """What is asked: a gateway that was started here, or one that somebody else runs."""

    @property
    def address(self) -> str:
        """As the header `Host` has it."""

    @property
    def lines(self) -> str:
        """Further header lines of every request, each with its line end."""

    def pool(self) -> Pool: ...

    def usage(self) -> Usage | None:
        """None where its processes cannot be seen."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A ready gateway. `ready_s` runs from the start of the process to the first 200 of `/readyz`; `others` are further
    processes that its figures count, such as a proxy before it."""

    pid: int
    port: int
    ready_s: float
    others: tuple[int, ...] = ()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def lines(self) -> str:
        return ""

    def pool(self) -> Pool:
        return Pool(HOST, self.port)

    def usage(self) -> Usage:
        return process_usage(self.pid, *self.others)


@contextmanager
def running_gateway(
    repository: Path, settings: Mapping[str, str], command: tuple[str, ...] = COMMAND
) -> Iterator[Gateway]:
    """Serve `repository` on a free port with an empty state folder; `settings` are QUORUM_ variables beyond that.

    Raises `GatewayError` when it does not become ready. It is stopped on the way out, whatever happened.
    """
    with tempfile.TemporaryDirectory(prefix="quorum-load-") as folder:
        port = free_port()
        environment = _environment(repository, port, Path(folder)) | dict(settings)
        log_path = Path(folder) / "gateway.log"
        with log_path.open("wb") as log:
            started_s = time.perf_counter()
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(process, port, started_s, log_path)
            yield Gateway(process.pid, port, time.perf_counter() - started_s)
        finally:
            stop_process(process)


def process_usage(*pids: int) -> Usage:
    """Sums over processes and their descendants, from Linux's /proc. Peak memory is VmHWM, the kernel's own record."""
    resident_kib = peak_kib = ticks = 0
    for member in (member for pid in pids for member in family(pid)):
        try:
            status = Path(f"/proc/{member}/status").read_text(encoding="ascii", errors="replace")
            stat = Path(f"/proc/{member}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # it ended between listing and reading
        resident_kib += _kib(status, "VmRSS")
        peak_kib += _kib(status, "VmHWM")
        fields = stat.rpartition(")")[2].split()  # behind the name, which may hold spaces
        ticks += int(fields[11]) + int(fields[12])
    return Usage(round(resident_kib / 1024, 1), round(peak_kib / 1024, 1), ticks / os.sysconf("SC_CLK_TCK"))


def _environment(repository: Path, port: int, folder: Path) -> dict[str, str]:
    """The caller's environment without its QUORUM_ variables: a result must not depend on what is set there."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("QUORUM_")}
    return inherited | {
        "QUORUM_MODEL_REPOSITORY": str(repository.resolve()),
        "QUORUM_HOST": HOST,
        "QUORUM_PORT": str(port),
        "QUORUM_STATE_URL": str(folder / "state.sqlite3"),
        "QUORUM_GALLERIES_URL": str(folder / "galleries.db"),
    }


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, started_s: float, log_path: Path) -> None:
    while not _is_ready(port):
        if process.poll() is not None:
            raise GatewayError(f"The gateway ended with code {process.returncode}.\n{_tail(log_path)}")
        if time.perf_counter() - started_s > READY_WITHIN_S:
            raise GatewayError(f"The gateway was not ready after {READY_WITHIN_S:.0f} s.\n{_tail(log_path)}")
        time.sleep(POLL_S)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """By SIGTERM, and by SIGKILL when that takes too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])


def family(pid: int) -> Iterator[int]:
    """The process and everything that it started, whichever of its threads did."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            listed = children.read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in listed:
            yield from family(int(child))


def _kib(status: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0
