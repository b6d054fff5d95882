"""The pod of `helm test`, run as it is rendered (its command, its words, its environment) by a plain process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.conftest import free_port
from tests.support.chart import render
from tests.support.manifests import Release

LABELS = ["banana", "carrots", "pineapple", "lemon"]
RESULT: dict[str, Any] = {
    "predictions": [{"label": label, "probability": 0.25, "cosine": 0.1} for label in LABELS],
    "backbones": {"a": {}},
    "degraded": False,
    "failed": [],
}
SURE = {"results": [RESULT]}


def run(url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With this project's Python for the image's, and `url` for the Service's."""
    (pod,) = Release(render({})).of_component("test")
    (container,) = pod.containers
    words: list[str] = [*container["command"], *container["args"]]
    assert words[0] == "python"
    (given,) = (each["value"] for each in container["env"] if each["name"] == "GATEWAY_URL")
    assert given == "http://quorum-gateway:8000"
    return subprocess.run(
        [sys.executable, *words[1:]],
        env={"GATEWAY_URL": url, "WAIT_S": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@contextmanager
def answering(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Iterator[tuple[str, list[Any]]]:
    """A server that always answers so, and the headers that it was sent."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_passes_on_a_real_gateway(live_server: str) -> None:
    done = run(live_server, WAIT_S="60")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok: " in done.stdout
    assert any(label in done.stdout for label in LABELS)


def test_it_fails_where_nobody_answers() -> None:
    done = run(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "not ok: " in done.stdout
    assert "Traceback" not in done.stderr


def changed(**parts: Any) -> dict[str, Any]:
    return {"results": [{**RESULT, **parts}]}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, {"error": {"message": "it broke"}}, "it broke"),
        (404, b"<html>some other server</html>", "404"),
        (200, b"<html>some other server</html>", "not ok"),
        (200, {"results": []}, "not ok"),
        (200, {"something": "else"}, "not ok"),
        (200, {"results": [{"error": {"message": "a broken picture"}}]}, "a broken picture"),
        (200, changed(degraded=True, failed=["vit-s"]), "vit-s"),
        (200, changed(predictions=RESULT["predictions"][:2]), "not ok"),
    ],
)
def test_a_wrong_answer_fails_it_in_words(status: int, body: Any, words: str) -> None:
    with answering(status, body) as (url, _):
        done = run(url)
    assert done.returncode == 1
    assert words in done.stdout
    assert done.stderr == ""


def test_what_it_sends_is_a_picture_and_the_key() -> None:
    with answering(200, SURE) as (url, seen):
        assert run(url, API_KEY="secret").returncode == 0
    ((headers, body),) = seen
    assert headers["Authorization"] == "Bearer secret"
    assert (body[:4], body[8:12]) == (b"RIFF", b"WEBP")


def test_without_a_key_it_passes_where_it_is_refused_and_with_a_wrong_one_it_fails() -> None:
    refused = {"error": {"message": "no key", "code": "invalid_api_key"}}
    with answering(401, refused, {"WWW-Authenticate": "Bearer"}) as (url, _):
        assert run(url).returncode == 0
        done = run(url, API_KEY="wrong")
    assert done.returncode == 1
    assert "secret" not in done.stdout
