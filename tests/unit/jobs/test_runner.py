"""Jobs as they are run: every state, and who decides between two that happen at once."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from service.errors import InvalidImageError, LabelSetChangedError, NotFoundError, TooManyJobsError, UnavailableError
from service.jobs.control import JobControl, Outcome
from service.jobs.runner import JobRunner
from service.observability.logs import JsonFormatter
from service.policies import ArtefactKind
from service.stores.base import ArtefactContent, Job, StoredLabelSet
from service.stores.sqlite import SqliteState
from tests.support.jobs import FaultyJobs, Gated, JobObservations, final, running, unreachable, until
from tests.support.state import CARS, PETS, content, found


async def submit(
    runner: JobRunner, stored: StoredLabelSet, work: Gated | None = None, kind: ArtefactKind = "controller"
) -> Job:
    return await runner.submit(stored, kind, work or Gated(), request_id="req_test")


@pytest.fixture
async def busy(runner: JobRunner, state: SqliteState) -> Gated:
    """The runner works for somebody else, until this gate is opened."""
    others = await state.label_sets.put("others", PETS)
    gated = Gated()
    await submit(runner, others, gated)
    await gated.has_begun()
    return gated


async def test_a_job_runs_in_a_thread_of_its_own_and_activates_what_it_made(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    gated = Gated(Outcome({"gain": 0.1}, content(3)))
    gated.report = 0.5
    queued = await submit(runner, pets, gated)
    assert (queued.state, queued.request_id, queued.digest) == ("queued", "req_test", PETS.digest)
    await gated.has_begun()  # and the event loop is free meanwhile, or this would not go on

    async def half() -> bool:
        job = await found(state, queued.id)
        return (job.state, job.progress) == ("running", 0.5)

    await until(half)
    assert (observations.running, observations.queued) == (1, 0)
    gated.gate.set()
    done = await final(state, queued)
    assert (done.state, done.progress, done.result) == ("succeeded", 1.0, {"gain": 0.1, "version": 1})
    artefact = await state.artefacts.get("pets", "controller")
    assert artefact is not None
    assert artefact.tensors == content(3).tensors

    async def accounted() -> bool:
        return (observations.running, observations.ended) == (0, [("controller", "succeeded", True)])

    await until(accounted)


async def test_a_job_whose_result_is_refused_by_itself_activates_nothing(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet
) -> None:
    done = await final(
        state, await runner.submit(pets, "controller", lambda _: Outcome({"accepted": False}), request_id="x")
    )
    assert (done.state, done.result) == ("succeeded", {"accepted": False})
    assert await state.artefacts.get("pets", "controller") is None


async def test_a_failure_that_has_a_name_is_told(runner: JobRunner, state: SqliteState, pets: StoredLabelSet) -> None:
    def work(_: JobControl) -> Outcome:
        raise InvalidImageError("No image can be read.", param="examples[3]")

    failed = await final(state, await runner.submit(pets, "controller", work, request_id="x"))
    assert failed.state == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.param) == ("invalid_image", "examples[3]")
    assert failed.error.message == "No image can be read."


@pytest.mark.parametrize("error", [ZeroDivisionError("a secret"), MemoryError("a secret"), SystemExit("a secret")])
async def test_a_failure_that_has_none_is_logged_and_tells_nothing(
    runner: JobRunner,
    state: SqliteState,
    pets: StoredLabelSet,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    def work(_: JobControl) -> Outcome:
        raise error

    job = await runner.submit(pets, "controller", work, request_id="mine")
    failed = await final(state, job)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.code == "internal_error"
    assert "secret" not in failed.error.message
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "a secret" in JsonFormatter().format(record)
    assert (vars(record)["job_id"], vars(record)["request_id"]) == (job.id, "mine")


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({"loss": float("nan")}),
        Outcome({"loss": object()}),
        Outcome({}, ArtefactContent(b"", {"loss": float("nan")})),
        Outcome({}, ArtefactContent(object(), {})),  # type: ignore[arg-type]  # a work that breaks its promise
        None,
    ],
)
async def test_a_result_that_cannot_be_stored_fails_its_job_and_no_other(
    runner: JobRunner,
    state: SqliteState,
    pets: StoredLabelSet,
    caplog: pytest.LogCaptureFixture,
    outcome: Outcome,
) -> None:
    failed = await final(state, await runner.submit(pets, "controller", lambda _: outcome, request_id="x"))
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.code == "internal_error"
    assert [record for record in caplog.records if record.levelno == logging.ERROR]
    assert await state.artefacts.get("pets", "controller") is None
    done = await final(state, await runner.submit(pets, "controller", lambda _: Outcome({}), request_id="x"))
    assert done.state == "succeeded"
    assert runner.problems() == []


async def test_jobs_run_one_at_a_time_in_the_order_in_which_they_came(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, busy: Gated, observations: JobObservations
) -> None:
    first, second = Gated(), Gated()
    jobs = [await submit(runner, pets, first), await submit(runner, pets, second, "cascade")]
    assert observations.queued == 2
    assert not first.began.is_set()
    busy.gate.set()
    await first.has_begun()
    assert not second.began.is_set()
    assert threading.active_count() >= 2
    assert [thread.name for thread in threading.enumerate()].count("job") == 1
    first.gate.set()
    second.gate.set()
    assert [(await final(state, job)).state for job in jobs] == ["succeeded", "succeeded"]


async def test_a_running_job_is_cancelled(runner: JobRunner, state: SqliteState, pets: StoredLabelSet) -> None:
    gated = Gated(Outcome({}, content()))
    job = await submit(runner, pets, gated)
    await gated.has_begun()
    cancelled = await runner.cancel(job.id)
    assert cancelled is not None
    assert cancelled.state == "cancelled"
    assert cancelled.error is not None
    assert cancelled.error.code == "job_cancelled"
    await gated.has_left()
    assert gated.stopped
    assert await state.jobs.get(job.id) == cancelled
    assert await state.artefacts.get("pets", "controller") is None


async def test_a_queued_job_that_is_cancelled_never_runs_and_leaves_its_place(
    runner: JobRunner, pets: StoredLabelSet, busy: Gated, observations: JobObservations
) -> None:
    gated = Gated()
    job = await submit(runner, pets, gated)
    cancelled = await runner.cancel(job.id)
    assert cancelled is not None
    assert cancelled.state == "cancelled"
    assert observations.queued == 0
    assert observations.ended == [("controller", "cancelled", False)]
    busy.gate.set()
    await submit(runner, pets, follower := Gated())
    await follower.has_begun()
    assert not gated.began.is_set()


async def test_cancelling_what_is_over_or_not_there_changes_nothing(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet
) -> None:
    done = await final(state, await runner.submit(pets, "controller", lambda _: Outcome({}), request_id="x"))
    assert await runner.cancel(done.id) == done
    assert await runner.cancel("job_none") is None


async def test_a_newer_job_supersedes_the_running_one_and_waits_for_its_thread(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet
) -> None:
    older, newer = Gated(Outcome({}, content(1)), deaf=True), Gated(Outcome({}, content(2)))
    first = await submit(runner, pets, older)
    await older.has_begun()
    second = await submit(runner, pets, newer)
    superseded = await found(state, first.id)
    assert superseded.state == "cancelled"
    assert superseded.error is not None
    assert f"superseded by {second.id}" in superseded.error.message
    assert not newer.began.is_set()
    older.gate.set()  # it even brings a result, too late
    newer.gate.set()
    assert (await final(state, second)).result == {"version": 1}
    assert await state.jobs.get(first.id) == superseded
    artefact = await state.artefacts.get("pets", "controller")
    assert artefact is not None
    assert artefact.tensors == content(2).tensors


async def test_a_newer_job_supersedes_a_queued_one_and_takes_its_place(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, busy: Gated, observations: JobObservations
) -> None:
    works = [Gated() for _ in range(5)]
    jobs = [await submit(runner, pets, work) for work in works]
    assert observations.queued == 1
    busy.gate.set()
    works[-1].gate.set()
    assert (await final(state, jobs[-1])).state == "succeeded"
    for job, work in zip(jobs[:-1], works, strict=False):
        assert (await found(state, job.id)).state == "cancelled"
        assert not work.began.is_set()


@pytest.mark.parametrize("change", ["replaced", "deleted"])
@pytest.mark.parametrize("deaf", [False, True], ids=["stopped", "finishes all the same"])
async def test_a_label_set_that_changes_under_a_running_job_gets_nothing_of_it(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, change: str, deaf: bool
) -> None:
    gated = Gated(Outcome({}, content()), deaf=deaf)
    job = await submit(runner, pets, gated)
    await gated.has_begun()
    await (state.label_sets.put("pets", CARS) if change == "replaced" else state.label_sets.delete("pets"))
    if deaf:
        gated.gate.set()
    await gated.has_left()
    assert gated.stopped is not deaf
    ended = await final(state, job)
    assert ended.state == "cancelled"
    assert ended.error is not None
    assert ended.error.code == "label_set_changed"
    assert list(await state.artefacts.list("pets", "controller")) == []
    again = await state.label_sets.put("pets", PETS)
    done = await final(state, await runner.submit(again, "controller", lambda _: Outcome({}), request_id="x"))
    assert done.state == "succeeded"


async def test_a_label_set_that_changed_before_is_no_target(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    await state.label_sets.put("pets", CARS)
    with pytest.raises(LabelSetChangedError):
        await submit(runner, pets)
    await state.label_sets.delete("pets")
    with pytest.raises(NotFoundError):
        await submit(runner, pets)
    assert (await state.jobs.list(label_set=None, after=None, limit=10)).items == ()
    assert observations.queued == 0


async def test_a_queued_job_whose_label_set_changes_never_runs(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, busy: Gated
) -> None:
    gated, follower = Gated(), Gated()
    job = await submit(runner, pets, gated)
    changed = await state.label_sets.put("pets", CARS)
    await submit(runner, changed, follower, "cascade")
    busy.gate.set()
    await follower.has_begun()
    assert not gated.began.is_set()
    assert (await found(state, job.id)).state == "cancelled"


async def test_a_job_that_another_process_cancels_is_stopped_here(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    gated = Gated()
    job = await submit(runner, pets, gated)
    await gated.has_begun()
    await state.jobs.cancel(job.id, unreachable())
    await gated.has_left()
    assert gated.stopped

    async def accounted() -> bool:
        return observations.ended == [("controller", "cancelled", True)]

    await until(accounted)


async def test_one_job_too_many_is_told_when_to_come_back(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet, busy: Gated
) -> None:
    assert busy.began.is_set()
    more = [await state.label_sets.put(name, PETS) for name in ("a", "b")]
    waiting = [await submit(runner, stored) for stored in more]
    with pytest.raises(TooManyJobsError, match="2 jobs wait") as raised:
        await submit(runner, pets)
    assert raised.value.retry_after_s is not None
    assert raised.value.retry_after_s >= 1.0
    assert len((await state.jobs.list(label_set=None, after=None, limit=10)).items) == 3
    newer = await submit(runner, more[0])
    assert (await found(state, waiting[0].id)).state == "cancelled", "one that supersedes needs no place of its own"
    await runner.cancel(newer.id)
    await submit(runner, pets)


async def test_callers_at_the_same_moment_do_not_slip_past_the_limit(
    runner: JobRunner, state: SqliteState, busy: Gated, observations: JobObservations
) -> None:
    assert busy.began.is_set()
    stored = [await state.label_sets.put(f"set-{number}", PETS) for number in range(6)]
    answers = await asyncio.gather(*[submit(runner, each) for each in stored], return_exceptions=True)
    assert [type(answer) for answer in answers].count(TooManyJobsError) == 4
    assert observations.queued == 2


async def test_a_caller_that_leaves_leaves_a_job_that_runs(
    runner: JobRunner, state: SqliteState, pets: StoredLabelSet
) -> None:
    gated = Gated()
    caller = asyncio.create_task(submit(runner, pets, gated))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gated.gate.set()
    await gated.has_left()
    (job,) = (await state.jobs.list(label_set="pets", after=None, limit=10)).items
    assert (await final(state, job)).state == "succeeded"


async def test_a_job_that_takes_too_long_is_stopped(
    jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    async with running(jobs, observations, timeout_s=0.05) as runner:
        gated = Gated(Outcome({}, content()))
        failed = await final(state, await submit(runner, pets, gated))
        await gated.has_left()
        assert gated.stopped
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.code == "job_timeout"
    assert "0.05 s" in failed.error.message
    assert await state.artefacts.get("pets", "controller") is None
    assert observations.ended == [("controller", "failed", True)]


async def test_a_work_that_cannot_be_stopped_turns_health_red_until_it_ends(
    jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet, observations: JobObservations
) -> None:
    async with running(jobs, observations, grace_s=0.02) as runner:
        deaf = Gated(deaf=True)
        job = await submit(runner, pets, deaf)
        await deaf.has_begun()
        waiting = await submit(runner, pets, kind="cascade")
        await runner.cancel(job.id)
        failed = await final(state, waiting)
        assert failed.error is not None
        assert failed.error.code == "unavailable"
        assert "does not end" in failed.error.message
        assert runner.problems() == [failed.error.message]
        assert runner.running_s() > 0
        with pytest.raises(UnavailableError, match="does not end"):
            await submit(runner, pets)
        deaf.gate.set()

        async def healthy() -> bool:
            return not runner.problems()

        await until(healthy)
        done = await final(state, await runner.submit(pets, "cascade", lambda _: Outcome({}), request_id="x"))
        assert done.state == "succeeded"


async def test_a_store_that_cannot_be_reached_delays_a_job_and_loses_nothing(
    runner: JobRunner, jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet
) -> None:
    jobs.faults = {name: [unreachable(), unreachable()] for name in ("start", "progress", "finish")}
    gated = Gated(Outcome({}, content()))
    job = await submit(runner, pets, gated)
    await gated.has_begun()

    async def unfaulty() -> bool:
        return not jobs.faults["progress"]

    await until(unfaulty)
    gated.gate.set()
    assert (await final(state, job)).result == {"version": 1}
    assert not gated.stopped
    assert not any(jobs.faults.values())


async def test_a_job_that_cannot_be_created_is_the_callers_error_and_is_not_run(
    runner: JobRunner, jobs: FaultyJobs, pets: StoredLabelSet, observations: JobObservations
) -> None:
    jobs.faults = {"create": [unreachable(), ZeroDivisionError()]}
    for error in (UnavailableError, ZeroDivisionError):
        with pytest.raises(error):
            await submit(runner, pets)
    assert observations.queued == 0
    done = Gated()
    await submit(runner, pets, done)
    await done.has_begun()


async def test_a_runner_that_dies_says_so_and_leaves_nobody_waiting(
    runner: JobRunner,
    jobs: FaultyJobs,
    state: SqliteState,
    pets: StoredLabelSet,
    busy: Gated,
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiting = await submit(runner, pets)
    jobs.faults = {"progress": [ZeroDivisionError("a secret")]}
    failed = await final(state, waiting)
    assert failed.error is not None
    assert failed.error.code == "internal_error"
    assert "restarted" in runner.problems()[0]
    with pytest.raises(UnavailableError, match="restarted"):
        await submit(runner, pets)
    assert "a secret" in caplog.text
    await busy.has_left()
    assert busy.stopped, "and nobody works for nobody"


async def test_a_runner_that_dies_fails_its_own_job_too(
    runner: JobRunner, jobs: FaultyJobs, state: SqliteState, pets: StoredLabelSet
) -> None:
    jobs.faults = {"progress": [ZeroDivisionError("a secret")]}
    failed = await final(state, await submit(runner, pets))
    assert failed.error is not None
    assert (failed.state, failed.error.code) == ("failed", "internal_error")
