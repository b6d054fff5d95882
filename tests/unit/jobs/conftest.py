"""State in a file, and a runner of jobs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.jobs.runner import JobRunner
from service.stores.base import StoredLabelSet
from service.stores.sqlite import SqliteState
from tests.support.jobs import FaultyJobs, JobObservations, running
from tests.support.state import PETS, sqlite_state


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqliteState]:
    state = sqlite_state(tmp_path)
    await state.start()
    yield state
    await state.close()


@pytest.fixture
async def pets(state: SqliteState) -> StoredLabelSet:
    return await state.label_sets.put("pets", PETS)


@pytest.fixture
def jobs(state: SqliteState) -> FaultyJobs:
    return FaultyJobs(state.jobs)


@pytest.fixture
def observations() -> JobObservations:
    return JobObservations()


@pytest.fixture
async def runner(jobs: FaultyJobs, observations: JobObservations) -> AsyncIterator[JobRunner]:
    async with running(jobs, observations) as runner:
        yield runner
