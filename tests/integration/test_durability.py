"""What was acknowledged is there: after a restart, after `kill -9` at any moment, and for every other process."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from pathlib import Path

import httpx2
import pytest

from tests.integration.test_serve import serving
from tests.support.api import LABELS, classify_call, error_of
from tests.support.images import jpeg

ROUNDS = 4
NAMES = [f"set-{index}" for index in range(8)]


class Writer(threading.Thread):
    """Puts and deletes without a pause until the server is gone, and remembers what it was promised.

    `acknowledged` holds per name the labels, or None for a deletion; `attempted` the one call that got no answer.
    """

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self.acknowledged: dict[str, list[str] | None] = {}
        self.attempted: tuple[str, list[str] | None] | None = None
        self.writes = 0
        self._url = url
        self._random = random.Random(seed)

    def run(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=10.0) as client:
            while True:
                name = self._random.choice(NAMES)
                labels = None if self._random.random() < 0.2 else [f"label {self._random.random()}", *LABELS]
                self.attempted = (name, labels)
                try:
                    self._write(client, name, labels)
                except httpx2.TransportError:
                    return
                self.acknowledged[name] = labels
                self.attempted = None
                self.writes += 1

    def _write(self, client: httpx2.Client, name: str, labels: list[str] | None) -> None:
        if labels is None:
            assert client.delete(f"/v1/label-sets/{name}").status_code in (204, 404)
        else:
            assert client.put(f"/v1/label-sets/{name}", json={"labels": labels}).status_code in (200, 201)


def stored(url: str) -> dict[str, list[str] | None]:
    page = httpx2.get(f"{url}/v1/label-sets", params={"limit": 100}).json()
    return {each["name"]: each["labels"] for each in page["data"]}


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(environment: dict[str, str]) -> None:
    moments = random.Random(7)
    promised: dict[str, list[str] | None] = {}
    writes = 0
    for round_number in range(ROUNDS):
        with serving(environment) as server:
            assert server.url, "the file that a killed process left can be opened"
            found = stored(server.url)
            for name, labels in promised.items():
                assert found.get(name) == labels, name
            writer = Writer(server.url, seed=round_number)
            writer.start()
            while writer.writes < 3:
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, 0.4))
            server.process.kill()
            writer.join(timeout=20.0)
            assert not writer.is_alive()
        promised |= writer.acknowledged
        writes += writer.writes
        if writer.attempted:  # without an answer either outcome is right
            promised.pop(writer.attempted[0], None)
    assert writes >= 3 * ROUNDS
    with serving(environment) as server:
        found = stored(server.url)
        assert all(found.get(name) == labels for name, labels in promised.items())
        name = next(name for name, labels in promised.items() if labels)
        answer = httpx2.post(f"{server.url}/v1/classify", json=classify_call(jpeg(), label_set=name), timeout=30.0)
        assert {each["label"] for each in answer.json()["results"][0]["predictions"]} == set(promised[name] or ())
    with sqlite3.connect(environment["QUORUM_STATE_URL"]) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_two_servers_on_one_file_see_each_others_writes(environment: dict[str, str]) -> None:
    with serving(environment) as one, serving(environment) as other:
        for index in range(5):
            labels = [f"label {index}"]
            assert httpx2.put(f"{one.url}/v1/label-sets/pets", json={"labels": labels}).status_code in (200, 201)
            assert httpx2.get(f"{other.url}/v1/label-sets/pets").json()["labels"] == labels
            answer = httpx2.post(f"{other.url}/v1/classify", json=classify_call(jpeg(), label_set="pets"), timeout=30.0)
            assert [each["label"] for each in answer.json()["results"][0]["predictions"]] == labels
        assert httpx2.delete(f"{other.url}/v1/label-sets/pets").status_code == 204
        error_of(httpx2.get(f"{one.url}/v1/label-sets/pets"), 404, "not_found")


@pytest.mark.parametrize("content", [b"not a database" * 100, b""])
def test_a_state_file_that_is_none_is_named_or_begun(
    environment: dict[str, str], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "state.sqlite3"
    path.write_bytes(content)
    with serving(environment | {"QUORUM_STATE_URL": str(path)}) as server:
        if content:
            assert server.greeting == ""
            assert server.process.wait(timeout=30.0) == 3
            assert path.read_bytes() == content, "somebody's file is left as it was"
        else:
            assert stored(server.url) == {}
