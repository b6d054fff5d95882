"""What becomes of jobs when a process begins and ends."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from service.errors import UnavailableError
from service.jobs.control import Outcome
from service.stores.base import StoredLabelSet
from service.stores.sqlite import SqliteState
from tests.support.jobs import LIMITS, FaultyJobs, Gated, JobObservations, final, running, unreachable, until
from tests.support.state import content, found, running_job, sqlite_state
from tests.unit.jobs.test_runner import submit


async def test_at_the_start_what_a_dead_process_left_is_marked(
    state: SqliteState, pets: StoredLabelSet, tmp_path: Path, observations: JobObservations
) -> None:
    dead = sqlite_state(tmp_path)
    await dead.start()
    left = await running_job(dead, pets)
    await dead.close()
    async with running(state.jobs, observations):
        marked = await found(state, left.id)
        assert marked.error is not None
        assert (marked.state, marked.error.code) == ("failed", "job_interrupted")
        assert observations.ended == [("controller", "failed", False)]


async def test_it_looks_again_from_time_to_time(
    state: SqliteState, pets: StoredLabelSet, tmp_path: Path, observations: JobObservations
) -> None:
    neighbour = sqlite_state(tmp_path)
    await neighbour.start()
    theirs = await running_job(neighbour, pets)
    jobs = FaultyJobs(state.jobs)
    jobs.faults = {"sweep": [unreachable(), ZeroDivisionError()]}  # at the start and once more
    async with running(jobs, observations, sweep_s=0.01) as runner:
        assert (await found(state, theirs.id)).state == "running"
        await neighbour.close()
        assert (await final(state, theirs)).state == "failed"
        assert runner.problems() == []


async def test_while_it_drains_the_running_job_ends_and_no_other_begins(
    jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    async with running(jobs, observations) as runner:
        gated, waiting = Gated(Outcome({}, content())), Gated()
        first = await submit(runner, pets, gated)
        await gated.has_begun()
        second = await submit(runner, pets, waiting, "cascade")
        runner.drain()
        with pytest.raises(UnavailableError, match="shutting down"):
            await submit(runner, pets)
        closing = asyncio.create_task(runner.close())
        await asyncio.sleep(0)
        gated.gate.set()
        await closing
        assert (await found(state, first.id)).result == {"version": 1}
        interrupted = await found(state, second.id)
        assert interrupted.error is not None
        assert (interrupted.state, interrupted.error.code) == ("failed", "job_interrupted")
        assert not waiting.began.is_set()
        assert (observations.running, observations.queued) == (0, 0)


@pytest.mark.parametrize("deaf", [False, True])
async def test_what_does_not_end_in_time_is_interrupted(
    jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet, observations: JobObservations, deaf: bool
) -> None:
    async with running(jobs, observations, drain_s=0.05) as runner:
        gated = Gated(Outcome({}, content()), deaf=deaf)
        job = await submit(runner, pets, gated)
        await gated.has_begun()
        await runner.close()
        interrupted = await found(state, job.id)
        assert interrupted.error is not None
        assert (interrupted.state, interrupted.error.code) == ("failed", "job_interrupted")
        assert observations.ended == [("controller", "failed", True)]
        if deaf:
            gated.gate.set()
        await gated.has_left()
        assert gated.stopped is not deaf
    assert await state.artefacts.get("pets", "controller") is None


async def test_a_second_signal_does_not_wait(
    jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    async with running(jobs, observations) as runner:
        gated = Gated()
        job = await submit(runner, pets, gated)
        await gated.has_begun()
        runner.drain()
        closing = asyncio.create_task(runner.close())
        await asyncio.sleep(0)
        assert not closing.done()
        runner.drain(hurry=True)
        await closing
        assert (await found(state, job.id)).state == "failed"


async def test_closing_leaves_no_task_and_no_job_behind(
    jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    before = asyncio.all_tasks()
    async with running(jobs, observations, drain_s=0.0) as runner:
        gated = Gated()
        await submit(runner, pets, gated)
        await gated.has_begun()
        arriving = asyncio.create_task(submit(runner, pets, kind="cascade"))
        await asyncio.sleep(0)
        await runner.close()
        assert (await arriving).state == "queued"
        for job in (await state.jobs.list(label_set=None, after=None, limit=10)).items:
            assert job.error is not None
            assert job.error.code == "job_interrupted"
    assert asyncio.all_tasks() == before


async def test_a_store_that_is_gone_does_not_keep_a_process_from_ending(
    jobs: FaultyJobs,
    state: SqliteState,
    pets: StoredLabelSet,
    observations: JobObservations,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    async with running(jobs, observations, drain_s=0.0) as runner:
        gated = Gated()
        job = await submit(runner, pets, gated)
        await gated.has_begun()
        other = await submit(runner, pets, kind="cascade")
        jobs.faults = {"fail": [unreachable()] * 100}
        await runner.close()
        await gated.has_left()
    assert (await found(state, job.id)).state == "running", "the next process marks it"
    assert (await found(state, other.id)).state == "queued"
    assert {record.levelname for record in caplog.records} == {"ERROR"}


async def test_a_runner_that_never_ran_a_job_closes_at_once(jobs: FaultyJobs, observations: JobObservations) -> None:
    assert LIMITS.drain_s > 1
    async with running(jobs, observations) as runner:
        await runner.close()

        async def idle() -> bool:
            return not runner.problems()

        await until(idle)
