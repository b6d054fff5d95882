"""State for tests: label sets, artefacts and jobs, and what to put into them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from service.pipeline.labels import LabelLimits, LabelSet, make_label_set
from service.policies import ArtefactKind
from service.stores.base import ArtefactContent, Job, NewJob, Retention, State, StoredLabelSet
from service.stores.redis import RedisState
from service.stores.redis.presence import DEFAULT_TIMING, Timing
from service.stores.sqlite import SqliteState
from tests.support.redis import RedisServer

RETENTION = Retention(earlier_versions=2, job_ttl_s=3_600.0, finished_jobs=100)
_numbers = itertools.count()


def label_set(*labels: str, templates: Sequence[str] = ("a {}", "the {}")) -> LabelSet:
    return make_label_set(labels, templates, LabelLimits(10, 100, 100))


PETS, CARS = label_set("cat", "dog"), label_set("bus", "tram", "Zürich 🚋")


def sqlite_state(folder: Path, retention: Retention = RETENTION) -> SqliteState:
    """On the same file for the same folder, as several processes would have it."""
    return SqliteState(folder / "deep" / "state.sqlite3", retention)


class Ups:
    """What a state in Redis said of its server, in order."""

    def __init__(self) -> None:
        self.said: list[bool] = []

    def state_up(self, up: bool) -> None:
        if self.said[-1:] != [up]:
            self.said.append(up)


def redis_state(
    server: RedisServer, retention: Retention = RETENTION, timing: Timing = DEFAULT_TIMING, ups: Ups | None = None
) -> RedisState:
    return RedisState(server.url, retention, ups or Ups(), timing)


def content(value: float = 1.0) -> ArtefactContent:
    return ArtefactContent(save({"w": np.full(3, value, dtype=np.float32)}), {"value": value, "labels": ["Zürich 🚋"]})


def new_job(stored: StoredLabelSet, kind: ArtefactKind = "controller", request_id: str = "req_test") -> NewJob:
    """Later ones sort after earlier ones."""
    return NewJob(f"job_{next(_numbers):08}", kind, stored.name, stored.label_set.digest, request_id)


async def running_job(state: State, stored: StoredLabelSet, kind: ArtefactKind = "controller") -> Job:
    created = await state.jobs.create(new_job(stored, kind))
    started = await state.jobs.start(created.id)
    assert started is not None
    return started


async def found(state: State, job_id: str) -> Job:
    job = await state.jobs.get(job_id)
    assert job is not None
    return job
