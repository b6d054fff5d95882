"""`quorum serve` as a process, and the other commands with that server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import uvicorn

from service.cli.protocol import MAX_AROUND_BYTES
from service.cli.server import DrainingServer, begin_drain, run
from service.errors import ConfigurationError
from service.settings import Settings
from tests.conftest import MakeApp
from tests.integration.conftest import Quorum
from tests.support.api import classify_call
from tests.support.images import jpeg
from tests.support.keys import keys_file

ROOT = Path(__file__).parents[2]
STOP_LIMIT_S = 30.0


class Serving:
    """A server process on a free port; `url` is where it says that it listens."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, env=os.environ | environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        found = re.search(r"http://[\d.]+:(\d+)", self.greeting)
        self.url, self.port = (found[0], int(found[1])) if found else ("", 0)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """(exit status, standard error)"""
        self.process.send_signal(sig)
        _, stderr = self.process.communicate(timeout=STOP_LIMIT_S)
        return self.process.returncode, stderr


@contextmanager
def serving(environment: dict[str, str], *arguments: str) -> Iterator[Serving]:
    server = Serving(environment, *arguments)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate(timeout=STOP_LIMIT_S)


def test_a_server_is_used_and_drains_on_sigterm(
    quorum: Quorum, environment: dict[str, str], cat: Path, tmp_path: Path
) -> None:
    with serving(environment | {"QUORUM_API_KEYS_FILE": str(keys_file(tmp_path, "secret"))}) as server:
        assert server.greeting.startswith(f"Quorum listens on {server.url} with small, large.")
        refused = quorum("models", "--url", server.url)
        assert "QUORUM_CLIENT_API_KEY" in refused.stderr
        assert refused.exit_code == 1
        asked = quorum("models", "--json", QUORUM_CLIENT_URL=server.url, QUORUM_CLIENT_API_KEY="secret")
        raw = httpx2.get(f"{server.url}/v1/models", headers={"Authorization": "Bearer secret"})
        assert asked.stdout == f"{raw.text}\n"
        assert "server" not in raw.headers
        answered = quorum("classify", cat, "--labels", "cat,dog", "--url", server.url, QUORUM_CLIENT_API_KEY="secret")
        assert answered.exit_code == 0, answered.output
        status, log = server.stop()
    assert status == 0
    assert [json.loads(line)["message"] for line in log.splitlines()].count("POST /v1/classify 200") == 1


def test_headers_beyond_the_limit_are_refused(environment: dict[str, str]) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: "
    with serving(environment) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as caller:
        caller.sendall(head.ljust(MAX_AROUND_BYTES + 1, b"x"))
        assert caller.recv(12) == b"HTTP/1.1 400"


def test_a_request_in_flight_is_answered_after_sigterm(environment: dict[str, str]) -> None:
    body = jpeg()
    head = (
        "POST /v1/classify?labels=cat&labels=dog HTTP/1.1\r\nHost: test\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with serving(environment) as server, socket.create_connection(("127.0.0.1", server.port), STOP_LIMIT_S) as caller:
        caller.sendall(head.encode())
        assert caller.recv(1000).startswith(b"HTTP/1.1 100")  # the handler reads, so it holds its permit
        server.process.send_signal(signal.SIGTERM)
        wait_until_refused(server.port)
        caller.sendall(body)
        assert caller.recv(1000).startswith(b"HTTP/1.1 200")
        assert server.process.wait(timeout=STOP_LIMIT_S) == 0


def wait_until_refused(port: int) -> None:
    until_s = time.monotonic() + STOP_LIMIT_S
    while time.monotonic() < until_s:
        try:
            socket.create_connection(("127.0.0.1", port), STOP_LIMIT_S).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    pytest.fail("the server still accepts connections")


STUCK = """
import time
from service.cli import app
from service.pipeline import embed
embed.decode = lambda *_: time.sleep(600)
app(prog_name="quorum")
"""


def test_a_decoder_that_is_stuck_does_not_keep_the_process_from_ending(environment: dict[str, str]) -> None:
    """It is restarted for that: whoever waits for its end would have to kill it, and much would stay unclosed."""
    command = [sys.executable, "-c", STUCK, "serve", "--port", "0", "--engine", "fake"]
    with subprocess.Popen(
        command, env=os.environ | environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            url = re.findall(r"http://[\d.]+:\d+", process.stdout.readline())[0]
            call = classify_call(jpeg(), deadline_ms=200)
            assert httpx2.post(f"{url}/v1/classify", json=call).status_code == 504
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=STOP_LIMIT_S)
        finally:
            process.kill()
    assert process.returncode == 0, stderr
    assert "a thread of decode does not end" in stderr


BEGINNING = """
import time
from service.cli import app, server
def create_app(*_, **__):
    print("beginning", flush=True)
    time.sleep(600)
server.create_app = create_app
app(prog_name="quorum")
"""


def test_a_server_that_has_just_begun_listens_to_sigterm(environment: dict[str, str]) -> None:
    """As the first process of a container it would not hear it otherwise."""
    command = [sys.executable, "-c", BEGINNING, "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=os.environ | environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "beginning\n"
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=STOP_LIMIT_S)
        finally:
            process.kill()
    assert (process.returncode, stderr) == (128 + signal.SIGTERM, "")


async def test_the_first_signal_turns_readiness_red(make_app: MakeApp) -> None:
    application = make_app()
    server = DrainingServer(
        uvicorn.Config(application, log_config=None),
        begin_drain=lambda: begin_drain(application),
        listening=lambda: None,
    )
    transport = httpx2.ASGITransport(application)
    async with (
        application.router.lifespan_context(application),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        server.handle_exit(signal.SIGTERM, None)
        assert (await client.get("/readyz")).status_code == 503
    assert server.should_exit


def test_a_damaged_repository_is_one_sentence_and_status_3(environment: dict[str, str], repository_copy: Path) -> None:
    (repository_copy / "small_image" / "1" / "model.onnx").write_bytes(b"damaged")
    with serving(environment, "--model-repository", str(repository_copy)) as server:
        _, stderr = server.process.communicate(timeout=STOP_LIMIT_S)
    assert server.process.returncode == 3
    assert stderr.startswith("quorum cannot start: ")
    assert "model.onnx" in stderr
    assert stderr.endswith("(invalid_repository)\n")
    assert stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_sentence(environment: dict[str, str]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        serving(environment, "--port", str(taken.getsockname()[1])) as server,
    ):
        _, stderr = server.process.communicate(timeout=STOP_LIMIT_S)
    assert "Address already in use. Choose another with --host and --port" in stderr
    assert stderr.count("\n") == 1
    assert server.process.returncode == 3


def test_an_address_that_is_none_is_one_sentence(fake_repository: Path) -> None:
    settings = Settings(model_repository=fake_repository, host="no.such.host.invalid", port=0)
    with pytest.raises(ConfigurationError, match=r"no\.such\.host\.invalid port 0: "):
        run(settings, announce=print)
