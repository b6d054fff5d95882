"""A real HAProxy on the committed configuration, with made-up gateways behind one name."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingUDPServer
from typing import Any

import httpx2
import pytest

from tests.support.compose import ROOT

CONFIGURATION = ROOT / "docker/haproxy/haproxy.cfg"
ADDRESSES = ("127.0.0.1", "127.0.0.2")
LIMIT_S = 60.0
QUESTION_AT, A_RECORD, ANSWER = 12, 1, 0x8180


class Gateway(ThreadingHTTPServer):
    """Counts what reaches it, hangs up in the middle of a POST to /break, and answers one to /refuse with 503."""

    daemon_threads = True

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), Handler)
        self.ready = True
        self.calls: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silence: health checks hang up as soon as they know."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._answer(200 if self.server.ready else 503)
            return
        self.server.calls.append(self.path)
        self._answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append(self.path)
        if self.path == "/break":
            self.close_connection = True
            return
        self._answer(503 if self.path == "/refuse" else 200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silence: the tests say what matters."""


class Names(ThreadingUDPServer):
    """Answers every question with `addresses`, as Docker's own server does for a service of several containers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BaseRequestHandler)
        self.addresses = list(ADDRESSES)

    def finish_request(self, request: Any, client_address: Any) -> None:
        packet, answering = request
        end = packet.index(b"\0", QUESTION_AT) + 5  # the name's end, its type and its class
        (kind,) = struct.unpack("!H", packet[end - 4 : end - 2])
        found = self.addresses if kind == A_RECORD else []
        head = packet[:2] + struct.pack("!HHHHH", ANSWER, 1, len(found), 0, 0)
        records = (
            struct.pack("!HHHIH", 0xC000 | QUESTION_AT, A_RECORD, 1, 1, 4) + socket.inet_aton(each) for each in found
        )
        answering.sendto(head + packet[QUESTION_AT:end] + b"".join(records), client_address)


@contextmanager
def running(server: Gateway | Names) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def behind_one_name() -> Iterator[tuple[list[Gateway], Names]]:
    """Two gateways on one port of two addresses, and the server that knows both by name."""
    port, names = port_of_all(ADDRESSES), Names()
    gateways = [Gateway(address, port) for address in ADDRESSES]
    with ExitStack() as stack:
        stack.enter_context(running(names))
        for gateway in gateways:
            stack.enter_context(running(gateway))
        yield gateways, names


@contextmanager
def haproxy(gateways: list[Gateway], names: Names, folder: Path) -> Iterator[str]:
    """Base URL, once every gateway is known."""
    with haproxy_before(int(gateways[0].server_address[1]), names, folder) as url:
        wait_until(lambda: answers(f"{url}/") and all(gateway.calls for gateway in gateways), folder / "log")
        for gateway in gateways:
            gateway.calls.clear()
        yield url


@contextmanager
def haproxy_before(gateway_port: int, names: Names, folder: Path) -> Iterator[str]:
    """Base URL of one that may not answer yet; only ports and the name server are other than in the committed file."""
    port, path = port_of_all(ADDRESSES[:1]), folder / "haproxy.cfg"
    path.write_text(adapted(port, names.server_address[1]), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program(), "-db", "-f", path], env={"GATEWAY": f"gateway:{gateway_port}"}, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def adapted(port: int, names_port: int) -> str:
    text = CONFIGURATION.read_text(encoding="utf-8")
    for found, ours in [
        (" :8080", f" 127.0.0.1:{port}"),
        (" :8405", f" 127.0.0.1:{port_of_all(ADDRESSES[:1])}"),
        ("parse-resolv-conf", f"nameserver names 127.0.0.1:{names_port}"),
    ]:
        if text.count(found) != 1:
            raise ValueError(f"{CONFIGURATION} has {found} {text.count(found)} times")
        text = text.replace(found, ours)
    return text


def program() -> str:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if found is None:
        pytest.skip("needs HAProxy (Debian's package haproxy)")
    return found


def port_of_all(addresses: tuple[str, ...]) -> int:
    """A port that is free on every one of them."""
    while True:
        with ExitStack() as stack:
            first, *others = [stack.enter_context(socket.socket()) for _ in addresses]
            first.bind((addresses[0], 0))
            port = int(first.getsockname()[1])
            try:
                for probe, address in zip(others, addresses[1:], strict=True):
                    probe.bind((address, port))
            except OSError:
                continue
            return port


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2.0).status_code == 200
    except httpx2.TransportError:
        return False


def wait_until(condition: Callable[[], bool], log: Path | None = None) -> None:
    give_up_s = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > give_up_s:
            pytest.fail("it did not come to pass" if log is None else log.read_text())
        time.sleep(0.05)
