"""Real Triton servers for tests, started as `make triton` starts them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import onnx
import psutil
import pytest
from onnx import numpy_helper

from service.model_config import parse_config, render_config

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "docker/triton/serve.py"
WHEEL = Path(os.environ.get("TRITON_WHEEL", ROOT / "var/triton/wheel"))
TREE = ROOT / "var/triton/tree"
START_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0

START_ATTEMPTS = 3
"""Started on a machine that is busy with other things, Triton now and then ends in an exception of its own."""


class TritonServer:
    """One server process on `repository`; it keeps its ports over restarts."""

    def __init__(self, repository: Path, folder: Path, *, explicit: bool = False, models: Sequence[str] = ()) -> None:
        self.repository = repository
        self.http, self.grpc, self.metrics = _free_ports(3)
        self._options = [*(["--explicit"] if explicit else []), *(f"--load-model={model}" for model in models)]
        self._log = folder / f"triton-{self.grpc}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc}"

    def words(self) -> str:
        """What the server and its instances have printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Returns when it is ready."""
        for _ in range(START_ATTEMPTS):
            self._launch()
            if self._becomes_ready():
                return
        pytest.fail(f"Triton did not become ready:\n{self._log.read_text()[-4000:]}")

    def _launch(self) -> None:
        ports = [f"--http={self.http}", f"--grpc={self.grpc}", f"--metrics={self.metrics}"]
        command = [sys.executable, str(SERVE), f"--repository={self.repository}", f"--wheel={WHEEL}", f"--tree={TREE}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, *ports, *self._options], stdout=log, stderr=log, cwd=ROOT)

    def _becomes_ready(self) -> bool:
        give_up_s = time.monotonic() + START_LIMIT_S
        while time.monotonic() < give_up_s and self._process is not None and self._process.poll() is None:
            try:
                if httpx2.get(f"http://127.0.0.1:{self.http}/v2/health/ready", timeout=2.0).status_code == 200:
                    return True
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        return False

    def start_if_down(self) -> None:
        """So that one test's trouble is not the next one's."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def send(self, sig: signal.Signals) -> None:
        """To the server itself, not to what supervises it."""
        self._server().send_signal(sig)

    def kill(self) -> None:
        """As a machine loses it: no goodbye to anybody. Returns when what it left behind is gone too."""
        assert self._process is not None
        self.send(signal.SIGKILL)
        self._process.wait(STOP_LIMIT_S)

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(STOP_LIMIT_S)

    def unload(self, model: str) -> None:
        self._control(model, "unload")

    def load(self, model: str) -> None:
        self._control(model, "load")

    def instances(self, model: str = "") -> list[psutil.Process]:
        """The processes that run a model, or any."""
        stubs = self._server().children()
        return [each for each in stubs if any(word.startswith(f"{model}_") for word in each.cmdline()) or not model]

    def shared_memory(self) -> list[str]:
        assert self._process is not None
        return [each.name for each in Path("/dev/shm").glob(f"quorum_{self._process.pid}_*")]

    def _control(self, model: str, verb: str) -> None:
        url = f"http://127.0.0.1:{self.http}/v2/repository/models/{model}/{verb}"
        response = httpx2.post(url, json={}, timeout=30.0)
        assert response.status_code == 200, response.text

    def _server(self) -> psutil.Process:
        assert self._process is not None
        (server,) = [each for each in psutil.Process(self._process.pid).children() if each.name() == "tritonserver"]
        return server


@contextmanager
def triton_server(
    repository: Path, folder: Path, *, explicit: bool = False, models: Sequence[str] = ()
) -> Iterator[TritonServer]:
    if not (WHEEL / "pytriton/tritonserver/bin/tritonserver").is_file():
        pytest.skip("needs the Triton server that `make triton-server` installs")
    server = TritonServer(repository, folder, explicit=explicit, models=models)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def server_options() -> set[str]:
    """Those that its `--help` lists."""
    binary = WHEEL / "pytriton/tritonserver/bin/tritonserver"
    environment = os.environ | {"LD_LIBRARY_PATH": str(WHEEL / "nvidia_pytriton.libs")}
    result = subprocess.run([binary, "--help"], env=environment, capture_output=True, text=True, check=False)
    return set(re.findall(r"^ *(--[a-z0-9-]+)", result.stdout + result.stderr, re.MULTILINE))


def _free_ports(count: int) -> list[int]:
    """Held all at once, so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def replace_weights(repository: Path, tower: str) -> None:
    """Another model of the same form in `tower`'s place, with a configuration that says so."""
    folder = repository / tower
    model = onnx.load(folder / "1/model.onnx")
    weight = next(each for each in model.graph.initializer if each.name == "weight")
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight)[::-1], "weight"))
    content = model.SerializeToString()
    path = folder / "config.pbtxt"
    config = parse_config(path.read_text(encoding="utf-8"), str(path))
    (folder / "1/model.onnx").write_bytes(content)
    path.write_text(render_config(replace(config, sha256=hashlib.sha256(content).hexdigest())), encoding="utf-8")
