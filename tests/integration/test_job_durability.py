"""Jobs of real processes that end, by `kill -9` at any moment or by a signal that they hear."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.stores.base import Retention
from service.stores.sqlite import SqliteState
from tests.integration.test_serve import ROOT, STOP_LIMIT_S, serving, wait_until_refused

ROUNDS = 4
KEEP_ALL = Retention(earlier_versions=100_000, job_ttl_s=3_600.0, finished_jobs=100_000)
UNPRUNED = {"QUORUM_MAX_EARLIER_VERSIONS": "100000", "QUORUM_MAX_FINISHED_JOBS": "100000"}


class JobProcess:
    def __init__(self, environment: dict[str, str], mode: str) -> None:
        command = [sys.executable, "-m", "tests.support.job_process", mode]
        self.process = subprocess.Popen(
            command, env=os.environ | environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def says(self) -> dict[str, Any]:
        """Its next line; empty once it is dead."""
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline() or "{}"))

    def kill(self) -> None:
        self.process.kill()

    def rest(self) -> list[dict[str, Any]]:
        """What it said and nobody has read yet, the last line perhaps cut short, which is then no acknowledgement."""
        stdout, _ = self.process.communicate(timeout=STOP_LIMIT_S)
        return [json.loads(line) for line in stdout.splitlines(keepends=True) if line.endswith("\n")]


@contextmanager
def job_process(environment: dict[str, str], mode: str) -> Iterator[JobProcess]:
    process = JobProcess(environment, mode)
    try:
        yield process
    finally:
        process.kill()
        process.process.communicate(timeout=STOP_LIMIT_S)


def job(url: str, job_id: str) -> dict[str, Any]:
    response = httpx2.get(f"{url}/v1/jobs/{job_id}", timeout=30.0)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_killed_process_jobs_are_interrupted_at_the_next_start(environment: dict[str, str]) -> None:
    with job_process(environment, "hold") as held:
        said = held.says()
        held.kill()
        held.process.wait(STOP_LIMIT_S)
    with serving(environment) as server:
        done = job(server.url, said["done"])
        assert (done["state"], done["result"]) == ("succeeded", {"version": 1})
        for name, request_id in (("running", "two"), ("queued", "three")):
            interrupted = job(server.url, said[name])
            assert interrupted["state"] == "failed"
            assert interrupted["error"]["code"] == "job_interrupted"
            assert interrupted["error"]["request_id"] == request_id
            assert interrupted["finished_at"] is not None
        listed = httpx2.get(f"{server.url}/v1/jobs", timeout=30.0).json()["data"]
        assert [each["id"] for each in listed] == [said["queued"], said["running"], said["done"]]
        metrics = httpx2.get(f"{server.url}/metrics", timeout=30.0).text
        assert 'quorum_jobs_total{kind="controller",outcome="failed"} 1.0' in metrics


def test_a_living_process_jobs_are_left_alone_by_a_neighbour_that_starts_and_may_be_cancelled_by_it(
    environment: dict[str, str],
) -> None:
    with job_process(environment, "hold") as held:
        said = held.says()
        with serving(environment) as neighbour:
            assert job(neighbour.url, said["running"])["state"] == "running"
            assert job(neighbour.url, said["queued"])["state"] == "queued"
            answer = httpx2.delete(f"{neighbour.url}/v1/jobs/{said['running']}", timeout=30.0)
            assert answer.json()["state"] == "cancelled"
            assert held.says() == {"stopped": True}


async def test_a_job_and_what_it_made_are_stored_together_or_not_at_all(environment: dict[str, str]) -> None:
    moments = random.Random(11)
    acknowledged: dict[str, int] = {}
    for _ in range(ROUNDS):
        with job_process(environment | UNPRUNED, "loop") as looping:
            heard = [looping.says() for _ in range(5)]
            time.sleep(moments.uniform(0.0, 0.3))  # the moment of death is at random, and any is right
            looping.kill()
            heard += looping.rest()
        acknowledged |= {each["job"]: each["version"] for each in heard}
        await check_whole(Path(environment["QUORUM_STATE_URL"]), acknowledged)
    assert len(acknowledged) >= 5


async def check_whole(path: Path, acknowledged: dict[str, int]) -> None:
    state = SqliteState(path, KEEP_ALL)
    await state.start()
    try:
        await state.jobs.sweep()
        jobs = (await state.jobs.list(label_set="pets", after=None, limit=100_000)).items
        made = {job.id: job.result["version"] for job in jobs if job.result is not None}
        assert {job.state for job in jobs} <= {"succeeded", "failed"}
        assert acknowledged.items() <= made.items()
        versions = await state.artefacts.list("pets", "controller")
        assert sorted(each.version for each in versions) == sorted(made.values())
        active = await state.artefacts.get("pets", "controller")
        assert active is not None
        assert active.about.version == max(made.values())
    finally:
        await state.close()


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]], ids=["SIGTERM", "Ctrl+C twice"])
def test_a_process_that_is_told_to_end_says_what_it_interrupted(
    environment: dict[str, str], signals: list[signal.Signals]
) -> None:
    # Twice means now: the limit is then of no importance, and is one that the test would not sit out.
    limit = {"QUORUM_DRAIN_TIMEOUT_S": "0.2" if len(signals) == 1 else "3600"}
    with job_process(environment | limit, "serve") as serving_one:
        running = serving_one.says()["running"]
        port = re.search(r"http://[\d.]+:(\d+)", serving_one.says()["greeting"])
        assert port
        for sig in signals:
            serving_one.process.send_signal(sig)
            wait_until_refused(int(port[1]))  # the signal was heard; two of a kind that are pending at once are one
        assert serving_one.process.wait(STOP_LIMIT_S) == 0
    with serving(environment) as server:
        assert job(server.url, running)["error"]["code"] == "job_interrupted"
        metrics = httpx2.get(f"{server.url}/metrics", timeout=30.0).text
        assert 'outcome="failed"' not in metrics, "it was recorded by the process that ended"
