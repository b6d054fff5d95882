"""The servers beside gateways: Triton, Redis and a proxy, each started for a scenario and stopped after it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.gateway import HOST, GatewayError, free_port, stop_process

TRITON = Path("docker/triton/serve.py")
START_WITHIN_S = 20.0
SAMPLE = re.compile(r'^(\w+)\{[^}]*model="([^"]*)"[^}]*\} (\S+)$', re.MULTILINE)
PROXY = """
global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
frontend api
  bind {host}:{port}
  default_backend gateways
backend gateways
  balance leastconn
"""
"""As `docker/haproxy` has it, without health checks and logs."""


@dataclass(frozen=True, slots=True)
class TritonPorts:
    """`prefix` stands before a gateway's command: the server is started first, and ended with it."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> TritonPorts:
        return cls(free_port(), free_port(), free_port())

    def prefix(self, repository: Path, log: Path) -> tuple[str, ...]:
        ports = (f"--http={self.http}", f"--grpc={self.grpc}", f"--metrics={self.metrics}")
        return (sys.executable, str(TRITON), f"--repository={repository.resolve()}", f"--log={log}", *ports, "--")

    @property
    def settings(self) -> dict[str, str]:
        return {"QUORUM_ENGINE": "triton", "QUORUM_TRITON_URLS": f"{HOST}:{self.grpc}"}


def sums_by_model(metrics: str, name: str) -> dict[str, float]:
    """Of a page of Prometheus samples, the values of `name` by their label `model`."""
    return {model: float(value) for found, model, value in SAMPLE.findall(metrics) if found == name}


@contextmanager
def running_redis() -> Iterator[str]:
    """The URL of a Redis with an append-only file that is synced at every write, as state wants it."""
    program = _program("redis-server", "Debian's package redis-server")
    with tempfile.TemporaryDirectory(prefix="quorum-load-") as folder:
        port = free_port()
        command = [program, "--bind", HOST, "--port", str(port), "--dir", folder, "--save", ""]
        with _running([*command, "--appendonly", "yes", "--appendfsync", "always"], port, Path(folder)):
            yield f"redis://{HOST}:{port}/0"


@contextmanager
def running_proxy(ports: Sequence[int]) -> Iterator[tuple[int, int]]:
    """HAProxy in front of gateways on `ports`, the least busy first. Gives its process and its port."""
    program = _program("haproxy", "Debian's package haproxy")
    with tempfile.TemporaryDirectory(prefix="quorum-load-") as folder:
        port = free_port()
        servers = "".join(f"  server gateway{each} {HOST}:{each}\n" for each in ports)
        config = Path(folder) / "haproxy.cfg"
        config.write_text(PROXY.format(host=HOST, port=port) + servers, encoding="ascii")
        with _running([program, "-db", "-f", str(config)], port, Path(folder)) as pid:
            yield pid, port


def _program(name: str, source: str) -> str:
    # Daemons are in folders that an ordinary user's path leaves out.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise GatewayError(f"This scenario needs {name} on the path: install {source}.")
    return found


@contextmanager
def _running(command: Sequence[str], port: int, folder: Path) -> Iterator[int]:
    log = folder / "log"
    with log.open("wb") as words:
        process = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT)
    try:
        give_up_s = time.monotonic() + START_WITHIN_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > give_up_s:
                raise GatewayError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield process.pid
    finally:
        stop_process(process)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0):
            return True
    except OSError:
        return False
