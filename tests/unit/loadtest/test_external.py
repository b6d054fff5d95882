"""Addresses of gateways that somebody else runs: how they are read, and that TLS is spoken and checked."""

from __future__ import annotations

import asyncio
import json
import re
import socketserver
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from loadtest.external import External, external, smallest_backbone
from loadtest.gateway import GatewayError
from loadtest.payload import Question, get
from loadtest.scenarios.bench import Bench, warm

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("url", "host", "port", "address", "tls"),
    [
        ("https://quorum.example", "quorum.example", 443, "quorum.example", True),
        ("https://quorum.example:8443/", "quorum.example", 8443, "quorum.example:8443", True),
        ("http://10.0.0.7:8000", "10.0.0.7", 8000, "10.0.0.7:8000", False),
        ("http://[::1]:8000", "::1", 8000, "[::1]:8000", False),
    ],
)
def test_an_address_is_read(url: str, host: str, port: int, address: str, tls: bool) -> None:
    found = external(url, None)
    assert (found.host, found.port, found.address, found.tls is not None) == (host, port, address, tls)
    assert found.lines == ""


def test_a_key_goes_into_a_header_and_nowhere_else() -> None:
    found = external("https://quorum.example", "quorum_abc")
    assert found.lines == "Authorization: Bearer quorum_abc\r\n"
    assert "quorum_abc" not in repr(found)


@contextmanager
def answering(answer: bytes) -> Iterator[External]:
    """A server that says the same to everybody."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield external(f"http://127.0.0.1:{server.server_address[1]}", None)
        finally:
            server.shutdown()
            thread.join()


def page(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page("308 Moved", b"", "Location: https://quorum.example/info"), "leading to https://quorum.example/info"),
        (page("200 OK", b"<html>Sign in</html>"), "is a gateway behind it"),
        (page("200 OK", b"[]"), "is a gateway behind it"),
        (page("200 OK", b"\xff\xfe"), "is a gateway behind it"),
        (page("403 Forbidden", b"{}"), "scope `read` is needed"),
        (page("502 Bad Gateway", b"<html>"), "with 502"),
        (b"SSH-2.0-x\r\n", "is it HTTP that is spoken there"),
    ],
)
def test_who_is_no_gateway_is_named_in_words(answer: bytes, words: str) -> None:
    with answering(answer) as target, pytest.raises(GatewayError, match=re.escape(words)):
        target.fetch("/info")


@pytest.mark.parametrize(
    "models",
    [{"data": [{"id": "gpt", "object": "model"}]}, {"data": None}, {"data": ["small"]}, {"object": "list"}],
)
def test_models_of_another_kind_of_server_are_named_in_words(models: object) -> None:
    found = page("200 OK", json.dumps(models).encode())
    with answering(found) as target, pytest.raises(GatewayError, match="names no backbone"):
        smallest_backbone(target)


def test_the_smallest_backbone_is_one_of_the_committee() -> None:
    """One that votes only when asked may be smaller, and is nothing that callers meet unless they name it."""
    models = [
        {"id": "variant", "gflops": 0.1, "votes": "when_asked"},
        {"id": "large", "gflops": 2, "votes": "by_default"},
        {"id": "small", "gflops": 0.5, "votes": "by_default"},
        {"id": "committee", "gflops": 0.01},
    ]
    with answering(page("200 OK", json.dumps({"data": models}).encode())) as target:
        assert smallest_backbone(target) == "small"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page("413 Payload Too Large", b"\xff<html>"), "was answered with 413: \ufffd<html>"),
        (b"", "got no answer: the connection was closed"),
    ],
)
def test_a_first_request_that_something_in_between_does_not_let_through_is_named_in_words(
    answer: bytes, words: str
) -> None:
    with answering(answer) as target:
        requests = Bench(Path(), [b"a picture"], external=target).requests(target, Question(policy="mean"))
        with pytest.raises(GatewayError, match=re.escape(words)):
            warm(target, requests)


def test_a_name_that_is_none_is_named_in_words() -> None:
    with pytest.raises(GatewayError, match="cannot be reached"):
        external(f"http://{'a' * 70}.example", None).fetch("/info")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of `localhost`, signed by itself; the key is beside it."""
    path, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    options += ["-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", *options, "-out", str(path), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return path


@asynccontextmanager
async def spoken(certificate: Path, heads: list[bytes]) -> AsyncIterator[str]:
    """The address of a server that answers one request a connection over TLS."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    server = await asyncio.start_server(answer, "localhost", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def ask(target: External) -> int:
    pool = target.pool()
    try:
        return (await pool.request(get("/info", target.address, target.lines), 10.0)).status
    finally:
        pool.close()


async def test_tls_is_spoken_with_whom_the_machine_trusts(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with spoken(certificate, heads) as url:
        assert await ask(external(url, "quorum_abc")) == 200
    (head,) = heads
    assert head.startswith(b"GET /info HTTP/1.1\r\nHost: localhost:")
    assert b"\r\nAuthorization: Bearer quorum_abc\r\n" in head


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_the_key_is_sent(certificate: Path) -> None:
    heads: list[bytes] = []
    async with spoken(certificate, heads) as url:
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(external(url, "quorum_abc"))
    assert heads == []


async def test_an_untrusted_certificate_is_named_with_what_makes_it_trusted(certificate: Path) -> None:
    async with spoken(certificate, []) as url:
        with pytest.raises(GatewayError, match=r"not trusted here \(self-signed certificate\).*SSL_CERT_FILE"):
            await asyncio.to_thread(external(url, None).fetch, "/info")
