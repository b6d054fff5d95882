"""The servers beside gateways: Triton, Redis and a proxy, each started for a scenario and stopped after it."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.gateway import HOST, GatewayError, family, free_port, stop_process

TRITON = Path("docker/triton/serve.py")
START_WITHIN_S = 20.0
TRITON_WITHIN_S = 120.0
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


class RunningTriton:
    """A Triton server by itself, to be hurt: killed, stalled, deprived of a model; and brought back on its ports."""

    def __init__(self, repository: Path, ports: TritonPorts) -> None:
        self._command = [*ports.prefix(repository, Path(os.devnull))[:-1], "--explicit"]
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is ready. Raises `GatewayError`."""
        self.stop()  # what supervised a killed one clears up after it
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up_s = time.monotonic() + TRITON_WITHIN_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                raise GatewayError("Triton did not start; `make triton-server` installs it.")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            stop_process(self._process)

    def kill(self) -> None:
        """The server itself, by SIGKILL; what supervises it clears up after it."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill_instances(self, model: str) -> None:
        """The processes that run one model."""
        for pid in family(self._server()):
            if f"{model}_" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                os.kill(pid, signal.SIGKILL)

    def unload(self, model: str) -> None:
        self._control(model, "unload")

    def load(self, model: str) -> None:
        self._control(model, "load")

    def _control(self, model: str, verb: str) -> None:
        status = self._ask("POST", f"/v2/repository/models/{model}/{verb}", b"{}")
        if status != 200:
            raise GatewayError(f"Triton answered {status} when it was asked to {verb} {model}.")

    def _ready(self) -> bool:
        try:
            return self._ask("GET", "/v2/health/ready") == 200
        except (OSError, http.client.HTTPException):
            return False

    def _ask(self, method: str, target: str, body: bytes | None = None) -> int:
        connection = http.client.HTTPConnection(HOST, self._ports.http, timeout=30.0)
        try:
            connection.request(method, target, body)
            return connection.getresponse().status
        finally:
            connection.close()

    def _signal(self, which: signal.Signals) -> None:
        os.kill(self._server(), which)

    def _server(self) -> int:
        """The process of the server itself."""
        assert self._process is not None
        for pid in family(self._process.pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver":
                return pid
        raise GatewayError("Triton is not running.")


@contextmanager
def running_triton(repository: Path, ports: TritonPorts) -> Iterator[RunningTriton]:
    triton = RunningTriton(repository, ports)
    try:
        triton.start()
        yield triton
    finally:
        triton.stop()


def sums_by_model(metrics: str, name: str) -> dict[str, float]:
    """Of a page of Prometheus samples, the values of `name` by their label `model`."""
    return {model: float(value) for found, model, value in SAMPLE.findall(metrics) if found == name}


STATE: Final = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
CACHE: Final = ("--appendonly", "no", "--maxmemory", "384mb", "--maxmemory-policy", "allkeys-lru")
"""As `compose.yaml` has them: state is on disk before it is acknowledged, a cache may forget."""


@contextmanager
def running_redis(options: Sequence[str]) -> Iterator[str]:
    """The URL of a Redis server with an empty folder."""
    program = _program("redis-server", "Debian's package redis-server")
    with tempfile.TemporaryDirectory(prefix="quorum-load-") as folder:
        port = free_port()
        command = [program, "--bind", HOST, "--port", str(port), "--dir", folder, "--save", "", *options]
        with _running(command, port, Path(folder)):
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
