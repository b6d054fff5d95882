"""One zoo takes the other's place on a shared state: two sets of gateways side by side, and nobody is refused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.repository import load_zoo
from service.stores.redis import RedisState
from tests.support.api import LABELS, classify_call, error_of
from tests.support.fitted import cascade_content, controller_content
from tests.support.gateway_process import gateway_process
from tests.support.images import jpeg
from tests.support.redis import RedisServer
from tests.support.repository import Spec, write_repository
from tests.support.state import RETENTION, Ups

PATIENCE_S = 60.0
OTHER = (Spec("small", embedding_dim=6, gflops=0.25), Spec("large", image_size=48, embedding_dim=12, gflops=1.5))
"""The same names as the tiny repository's, and other weights behind one of them."""


@pytest.fixture
def other_repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "other-zoo", OTHER)


def settings(repository: Path, redis: RedisServer) -> dict[str, str]:
    return {
        "QUORUM_MODEL_REPOSITORY": str(repository),
        "QUORUM_ENGINE": "onnx",
        "QUORUM_STATE_URL": redis.url,
        "QUORUM_CACHE_URL": redis.url,
        "QUORUM_GALLERIES_URL": "off",
    }


def teach(redis: RedisServer, repository: Path, controller: str) -> None:
    """A controller and a cascade for `pets` as fits on a gateway with this repository store them: active at once."""

    async def put() -> None:
        state, zoo = RedisState(redis.url, RETENTION, Ups()), load_zoo(repository)
        await state.start()
        stored = await state.label_sets.get("pets")
        assert stored is not None
        digest = stored.label_set.digest
        await state.artefacts.put("pets", "controller", digest, controller_content(zoo, 0.5, 2.0))
        await state.artefacts.put("pets", "cascade", digest, cascade_content(zoo, 0.8, controller=controller))
        await state.close()

    asyncio.run(put())


def classified(url: str, **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/classify", json=classify_call(jpeg(), label_set="pets", **fields), timeout=PATIENCE_S)


def answered_by(url: str) -> tuple[str, str | None, bool]:
    """Policy, controller, and whether there is a promise."""
    answer = classified(url)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    assert {each["label"] for each in result["predictions"]} == set(LABELS)
    return result["policy"], result["controller"], result["promise"] is not None


def until(url: str, expected: tuple[str, str | None, bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while answered_by(url) != expected:
        assert time.monotonic() < deadline_s, answered_by(url)
        time.sleep(0.05)


class Callers(threading.Thread):
    """Ask whatever gateway is behind the service now, without a pause, and count the answers."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.behind = url
        self.answers: Counter[tuple[str, int]] = Counter()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            url = self.behind
            try:
                status = classified(url).status_code
            except httpx2.TransportError:
                status = 0
            self.answers[url, status] += 1


def test_two_zoos_share_a_state_and_each_answers_by_what_was_made_for_it(
    fake_repository: Path, other_repository: Path, redis: RedisServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        old = stack.enter_context(gateway_process(settings(fake_repository, redis), tmp_path / "old.log"))
        assert httpx2.put(f"{old}/v1/label-sets/pets", json={"labels": LABELS}).status_code == 201
        teach(redis, fake_repository, "pets/1")
        until(old, ("cascade", "pets/1", True))
        new = stack.enter_context(gateway_process(settings(other_repository, redis), tmp_path / "new.log"))
        assert answered_by(new) == ("mean", None, False), "nothing was fitted for its weights yet"
        assert '"small"' in error_of(classified(new, policy="cascade"), 409, "conflict")["message"]
        teach(redis, other_repository, "pets/2")
        until(new, ("cascade", "pets/2", True))
        for url, own in ((old, "pets/1"), (new, "pets/2"), (old, "pets/1")):
            assert answered_by(url) == ("cascade", own, True)
            shown = httpx2.get(f"{url}/v1/label-sets/pets").json()
            assert f"pets/{shown['controller']['version']}" == own
            assert shown["controller"]["applies"]
        digests = {httpx2.get(f"{url}/info").json()["zoo_digest"] for url in (old, new)}
        assert len(digests) == 2


def test_traffic_moves_to_the_other_zoo_and_back_without_a_failed_request(
    fake_repository: Path, other_repository: Path, redis: RedisServer, tmp_path: Path
) -> None:
    with ExitStack() as last:
        with gateway_process(settings(fake_repository, redis), tmp_path / "old.log") as old:
            assert httpx2.put(f"{old}/v1/label-sets/pets", json={"labels": LABELS}).status_code == 201
            teach(redis, fake_repository, "pets/1")
            until(old, ("cascade", "pets/1", True))
            callers = Callers(old)
            callers.start()
            last.callback(callers.join, PATIENCE_S)
            last.callback(callers.ended.set)
            new = last.enter_context(gateway_process(settings(other_repository, redis), tmp_path / "new.log"))
            teach(redis, other_repository, "pets/2")
            until(new, ("cascade", "pets/2", True))
            callers.behind = new
            asked(callers, new)
        # The old gateway has ended, in order. The way back: it is started again, on the state that the new one left.
        with gateway_process(settings(fake_repository, redis), tmp_path / "old.log") as again:
            until(again, ("cascade", "pets/1", True))
            callers.behind = again
            asked(callers, again)
            callers.ended.set()
            callers.join(PATIENCE_S)
    assert not callers.is_alive()
    assert {status for _, status in callers.answers} == {200}, callers.answers
    assert all(callers.answers[url, 200] >= 20 for url in (old, new, again))


def asked(callers: Callers, url: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while callers.answers[url, 200] < 20:
        assert time.monotonic() < deadline_s, callers.answers
        time.sleep(0.05)
