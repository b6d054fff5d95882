"""Gateways that share a Redis server: what one changes the others see, and what happens while the server is away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeApp, served
from tests.integration.test_job_durability import job, job_process
from tests.integration.test_serve import serving
from tests.support.api import LABELS, classify_call, error_of
from tests.support.images import jpeg
from tests.support.redis import RedisServer, redis_at
from tests.support.state import PETS, content

PATIENCE_S = 60.0
IMAGE = jpeg()

Client = httpx2.AsyncClient


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_at(tmp_path) as server:
        yield server


@asynccontextmanager
async def gateways(make_app: MakeApp, server: RedisServer, count: int = 2) -> AsyncIterator[list[Client]]:
    """Applications of their own in one event loop, as separate as processes but for that."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(served(make_app(state_url=server.url, galleries_url="off")))
            for _ in range(count)
        ]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def put(client: Client, name: str = "pets", labels: list[str] = LABELS) -> httpx2.Response:
    return await client.put(f"/v1/label-sets/{name}", json={"labels": labels})


async def classified(client: Client, label_set: str = "pets") -> httpx2.Response:
    return await client.post("/v1/classify", json=classify_call(IMAGE, label_set=label_set))


def labels_of(response: httpx2.Response) -> set[str]:
    assert response.status_code == 200, response.text
    return {each["label"] for each in response.json()["results"][0]["predictions"]}


async def shows(client: Client, labels: list[str]) -> None:
    """Wait until this is what it classifies with."""

    async def seen() -> bool:
        return labels_of(await classified(client)) == set(labels)

    await until(seen)


async def writes_again(client: Client) -> None:
    async def written() -> bool:
        return (await put(client)).status_code in (200, 201)

    await until(written)


async def state_up(client: Client) -> str:
    text = (await client.get("/metrics")).text
    return next(line for line in text.splitlines() if line.startswith("quorum_state_up "))


def state_of(url: str, job_id: str) -> str:
    """Of a job; a machine that is busy for seconds makes the server seem to be away, and says so."""
    response = httpx2.get(f"{url}/v1/jobs/{job_id}", timeout=PATIENCE_S)
    assert response.status_code in (200, 503), response.text
    return str(response.json().get("state"))


async def test_a_change_is_seen_by_the_other_gateway(make_app: MakeApp, redis: RedisServer) -> None:
    async with gateways(make_app, redis) as (one, other):
        await put(one)
        await shows(other, LABELS)
        for index in range(5):
            labels = [f"label {index}", f"other {index}"]
            await put(one, labels=labels)
            assert labels_of(await classified(one)) == set(labels), "its own writes it sees at once"
            await shows(other, labels)
        assert (await other.delete("/v1/label-sets/pets")).status_code == 204
        error_of(await classified(other), 404, "not_found")

        async def gone() -> bool:
            return (await classified(one)).status_code == 404

        await until(gone)


async def test_a_controller_that_one_gateway_activates_serves_on_the_other(
    make_app: MakeApp, redis: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        apps = [make_app(state_url=redis.url, galleries_url="off") for _ in range(2)]
        one, other = [await stack.enter_async_context(served(app)) for app in apps]
        await put(one, labels=list(PETS.labels))
        stores = apps[0].state.services
        stored = await stores.label_sets.get("pets")

        async def version() -> int | None:
            shown = (await other.get("/v1/label-sets/pets")).json()["controller"]
            return None if shown is None else int(shown["version"])

        assert await version() is None
        for _ in range(2):
            await stores.artefacts.put("pets", "controller", stored.label_set.digest, content())
        await until(lambda: _is(version, 2))
        await stores.artefacts.activate("pets", "controller", 1)
        await until(lambda: _is(version, 1))


async def _is(ask: Callable[[], Awaitable[Any]], value: Any) -> bool:
    return bool(await ask() == value)


async def test_what_is_known_is_served_while_redis_is_dead_and_writes_are_refused(
    make_app: MakeApp, own_redis: RedisServer
) -> None:
    async with gateways(make_app, own_redis, 1) as (client,):
        await put(client)
        await put(client, "cars", ["bus", "tram"])
        assert labels_of(await classified(client)) == set(LABELS)
        assert (await client.get("/v1/label-sets/cars")).status_code == 200
        assert await state_up(client) == "quorum_state_up 1.0"
        own_redis.kill()
        for _ in range(20):
            assert labels_of(await classified(client)) == set(LABELS)
        assert labels_of(await classified(client, "cars")) == {"bus", "tram"}
        adhoc = await client.post("/v1/classify", json=classify_call(IMAGE))
        assert adhoc.status_code == 200
        unknown = await classified(client, "never-heard-of")
        error_of(unknown, 503, "unavailable")
        assert int(unknown.headers["retry-after"]) >= 1
        for refused in (await put(client), await client.delete("/v1/label-sets/pets"), await client.get("/v1/jobs")):
            error_of(refused, 503, "unavailable")
        assert await state_up(client) == "quorum_state_up 0.0"
        for path in ("/readyz", "/healthz"):
            assert (await client.get(path)).status_code == 200
        await asyncio.to_thread(own_redis.start)
        await writes_again(client)
        assert await state_up(client) == "quorum_state_up 1.0"
        assert labels_of(await classified(client, "cars")) == {"bus", "tram"}, "acknowledged, and so still there"


async def test_no_classification_fails_while_redis_is_killed_again_and_again(
    make_app: MakeApp, own_redis: RedisServer
) -> None:
    ended = asyncio.Event()
    counts: dict[int, int] = {}

    async def load(client: Client) -> None:
        while not ended.is_set():
            response = await classified(client)
            counts[response.status_code] = counts.get(response.status_code, 0) + 1

    async with gateways(make_app, own_redis) as clients:
        await put(clients[0])
        for client in clients:
            await shows(client, LABELS)
        loads = [asyncio.create_task(load(client)) for client in clients for _ in range(4)]
        for _ in range(3):
            await asyncio.to_thread(own_redis.restart)
            for client in clients:
                await writes_again(client)
        ended.set()
        await asyncio.gather(*loads)
    assert counts.keys() == {200}
    assert counts[200] > len(loads)


async def test_a_redis_that_hangs_holds_up_one_request_and_not_all(make_app: MakeApp, own_redis: RedisServer) -> None:
    async with gateways(make_app, own_redis, 1) as (client,):
        await put(client)
        await shows(client, LABELS)
        own_redis.pause()
        # Sent and not answered: nobody knows. It is no 503, which callers may send again without a look.
        lost = await put(client, "lost", ["a", "b"])
        error_of(lost, 504, "outcome_unknown")
        error_of(await put(client, "refused", ["a", "b"]), 503, "unavailable")
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(50):  # a second each would be most of a minute
                assert labels_of(await classified(client)) == set(LABELS)
        own_redis.resume()
        await writes_again(client)
        names = [each["name"] for each in (await client.get("/v1/label-sets")).json()["data"]]
        assert names in (["lost", "pets"], ["pets"]), "all of what was sent or nothing, and nothing twice"


async def test_a_redis_that_lost_everything_is_believed(make_app: MakeApp, redis: RedisServer) -> None:
    async with gateways(make_app, redis) as clients:
        await put(clients[0])
        for client in clients:
            await shows(client, LABELS)
        assert redis.say("FLUSHALL") == "+OK"
        for client in clients:

            async def forgotten(client: Client = client) -> bool:
                return (await classified(client)).status_code == 404

            await until(forgotten)
        labels = ["new", "newer"]
        await put(clients[1], labels=labels)
        for client in clients:
            await shows(client, labels)


async def test_a_gateway_comes_up_without_redis_and_finds_it_later(make_app: MakeApp, own_redis: RedisServer) -> None:
    own_redis.stop()
    async with gateways(make_app, own_redis, 1) as (client,):
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post("/v1/classify", json=classify_call(IMAGE))).status_code == 200
        error_of(await classified(client), 503, "unavailable")
        error_of(await put(client), 503, "unavailable")
        await asyncio.to_thread(own_redis.start)
        await writes_again(client)
        assert labels_of(await classified(client)) == set(LABELS)


def test_a_password_that_is_refused_ends_the_start_and_is_not_shown(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with redis_at(tmp_path, password="right-one") as server:
        wrong = server.url.replace("right-one", "wr0ng-one")
        with serving(environment | {"QUORUM_STATE_URL": wrong}) as gateway:
            assert gateway.process.wait(PATIENCE_S) == 3
            _, stderr = gateway.process.communicate()
            assert "QUORUM_STATE_URL" in stderr
            assert "wr0ng" not in gateway.greeting + stderr
        with serving(environment | {"QUORUM_STATE_URL": server.url, "QUORUM_LOG_LEVEL": "debug"}) as gateway:
            httpx2.put(f"{gateway.url}/v1/label-sets/pets", json={"labels": LABELS}, timeout=PATIENCE_S)
            info = httpx2.get(f"{gateway.url}/info", timeout=PATIENCE_S).text
            server.kill()
            error_of(httpx2.delete(f"{gateway.url}/v1/label-sets/pets", timeout=PATIENCE_S), 503, "unavailable")
            status, stderr = gateway.stop()
            assert status == 0
            assert "away" in stderr
            assert "right-one" not in info + stderr


def test_jobs_of_a_killed_process_are_interrupted_by_a_gateway_that_lives(
    environment: dict[str, str], redis: RedisServer
) -> None:
    # At this level a request that asks once more writes nothing into a pipe that nobody reads.
    environment = environment | {"QUORUM_STATE_URL": redis.url, "QUORUM_LOG_LEVEL": "warning"}
    with serving(environment) as neighbour, job_process(environment, "hold") as held:
        said = held.says()
        assert job(neighbour.url, said["running"])["state"] == "running"
        held.kill()

        until_s = time.monotonic() + PATIENCE_S
        while {state_of(neighbour.url, said[name]) for name in ("running", "queued")} != {"failed"}:
            assert time.monotonic() < until_s
            time.sleep(0.2)
        for name, request_id in (("running", "two"), ("queued", "three")):
            error = job(neighbour.url, said[name])["error"]
            assert (error["code"], error["request_id"]) == ("job_interrupted", request_id)
        assert job(neighbour.url, said["done"])["state"] == "succeeded"
        status, log = neighbour.stop()
    assert status == 0
    assert [json.loads(line)["message"] for line in log.splitlines()].count("job interrupted") == 2


def test_a_job_of_a_process_that_lives_is_cancelled_from_another_gateway(
    environment: dict[str, str], redis: RedisServer
) -> None:
    environment = environment | {"QUORUM_STATE_URL": redis.url}
    with job_process(environment, "hold") as held:
        said = held.says()
        with serving(environment) as neighbour:
            assert job(neighbour.url, said["running"])["state"] == "running"
            answer = httpx2.delete(f"{neighbour.url}/v1/jobs/{said['running']}", timeout=PATIENCE_S)
            assert answer.json()["state"] == "cancelled"
            assert held.says() == {"stopped": True}
