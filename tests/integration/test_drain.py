"""Gateways that are stopped under load, as Docker and Kubernetes stop them: no request fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path

import httpx2
import pytest

from tests.conftest import ROOT, wait_until_ready
from tests.support.api import classify_call
from tests.support.images import jpeg
from tests.support.proxy import ADDRESSES, Names, haproxy_before, port_of_all, running, wait_until

CLIENTS = 6
STOP_LIMIT_S = 40.0
BODY = json.dumps(classify_call(jpeg())).encode()
JSON = {"content-type": "application/json"}


@dataclass
class Gateway:
    """A server process; `log` is what it wrote."""

    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    log: Path

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def answered(self) -> int:
        return len(re.findall(r"POST /v1/classify 200", self.log.read_text()))

    async def ready(self) -> int:
        """The status that a probe sees."""
        async with httpx2.AsyncClient() as client:
            return (await client.get(f"{self.url}/readyz")).status_code

    async def ended(self) -> int:
        """Exit status."""
        return await asyncio.to_thread(self.process.wait, STOP_LIMIT_S)


@contextmanager
def gateways(repository: Path, folder: Path, delay_s: float) -> Iterator[list[Gateway]]:
    """One on each of `ADDRESSES`, on the same port, ready."""
    port, started = port_of_all(ADDRESSES), list[Gateway]()
    for number, host in enumerate(ADDRESSES):
        own = folder / str(number)
        own.mkdir()
        variables = {
            "QUORUM_MODEL_REPOSITORY": str(repository),
            "QUORUM_STATE_URL": str(own / "state.sqlite3"),
            "QUORUM_GALLERIES_URL": "off",
            "QUORUM_INTRA_OP_THREADS": "1",
            "QUORUM_DRAIN_DELAY_S": str(delay_s),
        }
        command = [sys.executable, "-m", "service.cli", "serve", "--host", host, "--port", str(port)]
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environ | variables, stdout=log, stderr=log, cwd=ROOT)
        started.append(Gateway(process, (host, port), own / "log"))
    try:
        for gateway in started:
            wait_until_ready(gateway.url, gateway.process, gateway.log)
        yield started
    finally:
        for gateway in started:
            gateway.process.kill()
            gateway.process.wait(STOP_LIMIT_S)


@dataclass
class Load:
    """Callers that keep their connections and never try twice. `outcomes` are statuses, or what went wrong instead."""

    url: str
    outcomes: Counter[str] = field(default_factory=Counter)
    closed: int = 0
    """Answers after which the connection was to be closed."""

    async def call(self, client: httpx2.AsyncClient) -> None:
        try:
            response = await client.post("/v1/classify", content=BODY, headers=JSON)
        except httpx2.HTTPError as error:
            self.outcomes[repr(error)] += 1
        else:
            self.outcomes[str(response.status_code)] += 1
            self.closed += response.headers.get("connection") == "close"

    async def one_caller(self) -> None:
        async with httpx2.AsyncClient(base_url=self.url, timeout=20.0) as client:
            while True:
                await self.call(client)
                await asyncio.sleep(0.02)

    async def goes_on(self, answers: int) -> None:
        """Until so many more were given."""
        wanted = self.outcomes["200"] + answers
        async with asyncio.timeout(STOP_LIMIT_S):
            while self.outcomes["200"] < wanted:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def load_on(url: str) -> AsyncIterator[Load]:
    load = Load(url)
    callers = [asyncio.create_task(load.one_caller()) for _ in range(CLIENTS)]
    try:
        yield load
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


class Balancer:
    """As a Service of Kubernetes balances: every new connection goes to one of `endpoints`, and stays where it is."""

    def __init__(self, endpoints: list[tuple[str, int]]) -> None:
        self.endpoints = endpoints
        self.connections: set[asyncio.Task[None]] = set()
        self._turn = 0

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._connect(reader, writer))
        self.connections.add(connection)
        connection.add_done_callback(self.connections.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        host, port = self.endpoints[self._turn % len(self.endpoints)]
        writers = [writer]
        try:
            to, back = await asyncio.open_connection(host, port)
            writers.append(back)
            await asyncio.gather(pipe(reader, back), pipe(to, writer))
        except OSError:
            pass  # the caller sees its connection closed, which the test counts
        finally:
            for each in writers:
                each.close()


async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until one side closes; then the other is closed as well."""
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def balanced(endpoints: list[tuple[str, int]]) -> AsyncIterator[tuple[Balancer, str]]:
    balancer = Balancer(list(endpoints))
    server = await asyncio.start_server(balancer.accept, "127.0.0.1", 0)
    try:
        yield balancer, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        for connection in list(balancer.connections):
            connection.cancel()
        await asyncio.gather(*balancer.connections, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports to close


async def test_a_pod_that_is_deleted_under_load_fails_no_request(fake_repository: Path, tmp_path: Path) -> None:
    """It leaves the endpoints while its preStop hook waits; open connections stay on it until it closes them."""
    with gateways(fake_repository, tmp_path, delay_s=2.0) as (leaving, staying):
        async with (
            balanced([leaving.address, staying.address]) as (balancer, url),
            load_on(url) as load,
        ):
            await load.goes_on(40)
            balancer.endpoints.remove(leaving.address)
            await asyncio.sleep(0.3)
            before = leaving.answered
            assert await leaving.ready() == 200
            leaving.process.send_signal(signal.SIGTERM)
            await load.goes_on(CLIENTS)
            assert await leaving.ready() == 503
            assert await leaving.ended() == 0
            await load.goes_on(40)
    assert set(load.outcomes) == {"200"}, load.outcomes
    assert leaving.answered > before, "connections were still on it"
    assert 1 <= load.closed <= CLIENTS, "one answer a connection"
    assert staying.answered > leaving.answered


async def test_a_gateway_behind_the_proxy_that_is_stopped_under_load_fails_no_request(
    fake_repository: Path, tmp_path: Path
) -> None:
    """Without a preStop hook: the proxy finds out by itself, in two seconds and a bit, and meanwhile sends on."""
    names = Names()
    with running(names), gateways(fake_repository, tmp_path, delay_s=4.0) as (leaving, staying):
        port = leaving.address[1]
        with haproxy_before(port, names, tmp_path) as url:
            await asyncio.to_thread(wait_until, lambda: both_are_known(url, leaving, staying), tmp_path / "log")
            async with load_on(url) as load:
                await load.goes_on(40)
                before = leaving.answered
                leaving.process.send_signal(signal.SIGTERM)
                await load.goes_on(20)
                assert await leaving.ready() == 503
                assert await leaving.ended() == 0
                await load.goes_on(40)
    assert set(load.outcomes) == {"200"}, load.outcomes
    assert leaving.answered > before
    assert staying.answered > 0


def both_are_known(url: str, *all_of_them: Gateway) -> bool:
    for _ in range(4):
        with contextlib.suppress(httpx2.TransportError):
            httpx2.post(f"{url}/v1/classify", content=BODY, headers=JSON)
    return all(gateway.answered for gateway in all_of_them)


@pytest.mark.parametrize(("signals", "at_most_s"), [([signal.SIGINT], 10.0), ([signal.SIGTERM] * 2, 10.0)])
async def test_ctrl_c_and_a_second_sigterm_do_not_wait_for_load_balancers(
    fake_repository: Path, tmp_path: Path, signals: list[signal.Signals], at_most_s: float
) -> None:
    with gateways(fake_repository, tmp_path, delay_s=200.0) as (one, _):
        for each in signals:
            one.process.send_signal(each)
            await asyncio.sleep(0.3)
        assert await asyncio.to_thread(one.process.wait, at_most_s) == 0
