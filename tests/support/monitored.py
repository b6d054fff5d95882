"""Two real gateways under a real Prometheus, and traffic of every kind that the dashboard draws."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from service.client import NO_RETRY, ApiError, Item, QuorumClient
from tests.conftest import ROOT, START_LIMIT_S, free_port, wait_until_ready
from tests.support.images import jpeg
from tests.support.keys import api_key, keys_file
from tests.support.prometheus import PrometheusServer, Target
from tests.support.redis import RedisServer
from tests.support.triton import TritonServer, triton_server

LABELS: Final = ("cat", "dog", "bus")
KEY: Final = "whole"
"""May do everything."""
FEW: Final = "few"
"""One request a minute."""
PATIENT: Final[dict[str, Any]] = {"deadline_ms": 60_000}


@contextmanager
def gateway(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Address (host:port) of a server process."""
    folder.mkdir()
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out, cwd=ROOT)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=START_LIMIT_S)


@dataclass(slots=True)
class Traffic:
    """`zoo` is a gateway on the bundled zoo, `away` one on Triton that can lose a tower."""

    zoo: str
    away: str
    triton: TritonServer
    _seeds: Iterator[int] = field(default_factory=lambda: count(1000))

    def prepare(self) -> None:
        """What requests speak of: a label set with a controller and a cascade, a gallery."""
        with self._client(self.zoo) as client:
            client.put_label_set("things", LABELS)
            examples = [(self._picture(), label) for label in LABELS for _ in range(2)]
            client.wait_for_job(client.fit_controller("things", examples).id)
            images = [self._picture() for _ in range(24)]
            client.wait_for_job(client.calibrate_cascade("things", images, epsilon=0.4, delta=0.4).id)
            client.create_gallery("shop")
        with self._client(self.away) as client:
            client.classify([self._picture()], labels=LABELS, **PATIENT)
        self.triton.unload("large_image")

    def send(self) -> None:
        """A mix of everything, once."""
        with self._client(self.zoo) as client:
            self._classify(client)
            self._retrieve(client)
            refused(400, lambda: client.classify([b"no image"], labels=LABELS))
            client.cancel_job(client.fit_controller("things", [(self._picture(), each) for each in LABELS]).id)
        with self._client(self.zoo, FEW) as client:
            refused(429, lambda: [client.classify([self._picture()], labels=LABELS) for _ in range(2)])
        self._find_no_room()
        with self._client(self.away) as client:
            client.classify([self._picture()], labels=LABELS, **PATIENT)
            for _ in range(3):  # a failure now and then is no alert
                refused(503, lambda: client.classify([jpeg()], labels=LABELS, policy="single", backbones=["large"]))

    def _classify(self, client: QuorumClient) -> None:
        known = self._picture()
        for policy in ("mean", "nlc", "cascade"):
            client.classify([known, self._picture()], label_set="things", policy=policy, **PATIENT)
        client.classify([self._picture()], labels=LABELS, policy="cascade", min_confidence=0.01, **PATIENT)

    def _retrieve(self, client: QuorumClient) -> None:
        client.embed(["a cat", self._picture()], **PATIENT)
        client.add_items("shop", [Item(f"item-{next(self._seeds)}", self._picture())], **PATIENT)
        client.search("shop", "a cat", **PATIENT)

    def _find_no_room(self) -> None:
        """The one permit is held by who has not sent an image yet."""
        host, _, port = self.zoo.partition(":")
        head = (
            f"POST /v1/classify?labels=cat&labels=dog HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {KEY}\r\n"
            "Content-Type: image/jpeg\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection((host, int(port)), START_LIMIT_S) as caller, self._client(self.zoo) as client:
            caller.sendall(head.encode())
            assert caller.recv(1000).startswith(b"HTTP/1.1 100")
            refused(429, lambda: client.classify([jpeg()], labels=LABELS))

    def _picture(self) -> bytes:
        """One that nobody has seen."""
        return jpeg(seed=next(self._seeds))

    @staticmethod
    def _client(address: str, key: str = KEY) -> QuorumClient:
        return QuorumClient(f"http://{address}", api_key=key, retry=NO_RETRY)


def refused(status: int, call: Callable[[], object]) -> None:
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.status == status, caught.value


@contextmanager
def monitored(folder: Path, repository: Path, redis: RedisServer) -> Iterator[PrometheusServer]:
    """After two rounds of traffic, each of which every target was scraped after. `repository` is the tiny one."""
    of_zoo = {
        "QUORUM_MODEL_REPOSITORY": str(ROOT / "model_repository"),
        "QUORUM_STATE_URL": redis.url,
        "QUORUM_CACHE_URL": redis.url.replace("/0", "/1"),
        "QUORUM_GALLERIES_URL": str(folder / "galleries.db"),
        "QUORUM_API_KEYS_FILE": str(keys_file(folder, api_key(KEY), api_key(FEW, requests_per_minute=1))),
        "QUORUM_MAX_INFLIGHT_REQUESTS": "1",
        "QUORUM_SHADOW_RATE": "1",
        "QUORUM_LOG_LEVEL": "warning",
    }
    with ExitStack() as stack:
        triton = stack.enter_context(triton_server(repository, folder, explicit=True))
        of_triton = {
            "QUORUM_MODEL_REPOSITORY": str(repository),
            "QUORUM_ENGINE": "triton",
            "QUORUM_TRITON_URLS": triton.address,
            "QUORUM_STATE_URL": str(folder / "state.sqlite3"),
            "QUORUM_GALLERIES_URL": "off",
            "QUORUM_LOG_LEVEL": "error",
        }
        zoo = stack.enter_context(gateway(folder / "zoo", of_zoo))
        away = stack.enter_context(gateway(folder / "away", of_triton))
        # One gateway as beside compose.yaml, the other and its Triton as the Prometheus operator finds pods.
        targets = [
            Target("quorum", zoo),
            Target("quorum", away, {"namespace": "quorum", "pod": "quorum-gateway-6d9f7c9c5b-x2x4z"}),
            Target(
                "triton",
                f"127.0.0.1:{triton.metrics}",
                {"namespace": "quorum", "pod": "quorum-triton-all-5c8d4b7f69-q8w7e"},
            ),
        ]
        prometheus = PrometheusServer(folder, free_port(), targets)
        stack.enter_context(prometheus.running())
        traffic = Traffic(zoo, away, triton)
        traffic.prepare()
        for _ in range(2):
            traffic.send()
            prometheus.scraped_again()
        yield prometheus
