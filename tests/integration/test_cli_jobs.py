"""The command line as a process of its own, waiting for a job on a server: Ctrl+C, and a server that goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.conftest import ROOT
from tests.support.cli import said
from tests.support.images import jpeg

PATIENCE_S = 60.0
NOW = "2026-01-01T00:00:00Z"
LABEL_SET: dict[str, Any] = {
    "name": "pets",
    "labels": ["cat", "dog"],
    "templates": ["{}"],
    "digest": "d",
    "backbones": {},
    "created_at": NOW,
    "updated_at": NOW,
    "controller": None,
    "cascade": None,
}
INFO: dict[str, Any] = {
    "versions": {},
    "engine": "onnx",
    "zoo_digest": "d",
    "backbones": {},
    "policies": ["mean"],
    "default_policy": "mean",
    "limits": {},
    "problems": [],
}


def job(state: str) -> dict[str, Any]:
    times = {"created_at": NOW, "started_at": NOW, "finished_at": None}
    return {
        **times,
        "id": "job_1",
        "kind": "controller",
        "label_set": "pets",
        "state": state,
        "progress": 0.4,
        "result": None,
        "error": None,
    }


class Handler(BaseHTTPRequestHandler):
    """Speaks just enough of the API for a job that never ends."""

    server: Gateway

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"{self.command} {self.path}")
        answers = {
            "GET /v1/label-sets/pets": LABEL_SET,
            "GET /info": INFO | {"limits": self.server.limits},
            "POST /v1/label-sets/pets/controller": job("queued"),
            "GET /v1/jobs/job_1": job("running"),
            "DELETE /v1/jobs/job_1": job("cancelled"),
        }
        body = json.dumps(answers[self.server.asked[-1]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.server.asked[-1] == "GET /v1/jobs/job_1":
            self.server.watched.set()

    do_GET = do_POST = do_DELETE = answer  # noqa: N815  names that the standard library looks for

    def log_message(self, *_: object) -> None:
        return None


class Gateway(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.limits: dict[str, int] = {}
        self.watched = threading.Event()
        """Set once somebody has looked at the job."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield gateway
        gateway.shutdown()
        thread.join()


def write_photos(folder: Path) -> None:
    for seed, label in enumerate(("cat", "dog")):
        (folder / label).mkdir()
        (folder / label / "1.jpg").write_bytes(jpeg(seed=seed))


def begin(gateway: Gateway, tmp_path: Path) -> subprocess.Popen[str]:
    write_photos(tmp_path)
    command = [sys.executable, "-m", "service.cli", "fit", "pets", str(tmp_path), "--url", gateway.url]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl+C, and so would everything that these tests start.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert gateway.watched.wait(PATIENCE_S), process.communicate(timeout=PATIENCE_S)
    return process


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"max_job_images": 1}, "2 images; one job takes 1 (QUORUM_MAX_JOB_IMAGES)"),
        ({"max_job_body_bytes": 2048}, "one job takes 2.0 KiB (QUORUM_MAX_JOB_BODY_BYTES)"),
    ],
)
def test_the_limits_of_the_server_that_is_asked_count(
    gateway: Gateway, tmp_path: Path, limits: dict[str, int], sentence: str
) -> None:
    write_photos(tmp_path)
    gateway.limits = limits
    result = CliRunner().invoke(app, ["fit", "pets", str(tmp_path), "--url", gateway.url])
    assert sentence in said(result)
    assert result.exit_code == 2
    assert gateway.asked == ["GET /v1/label-sets/pets", "GET /info"]


def test_ctrl_c_cancels_the_job_on_the_server(gateway: Gateway, tmp_path: Path) -> None:
    process = begin(gateway, tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert gateway.asked[-1] == "DELETE /v1/jobs/job_1"
    assert "job_1 is cancelled, nothing of it is activated." in err
    assert "Traceback" not in err
    assert (process.returncode, out) == (130, "")


def test_a_server_that_goes_away_is_told_from_a_job_that_failed(gateway: Gateway, tmp_path: Path) -> None:
    process = begin(gateway, tmp_path)
    gateway.shutdown()
    gateway.server_close()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert f"quorum jobs show job_1 --wait --url {gateway.url}" in err
    assert "DELETE /v1/jobs/job_1" not in gateway.asked
    assert (process.returncode, out) == (1, "")
