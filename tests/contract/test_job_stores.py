"""What every store of jobs keeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from service.errors import InternalError, LabelSetChangedError, NotFoundError, QuorumError
from service.stores.base import Job, JobError, Retention, State, StoredLabelSet
from service.stores.reasons import cancelled
from tests.contract.conftest import OpenState
from tests.support.state import CARS, PETS, RETENTION, content, found, new_job, running_job

WHY = InternalError("It broke.", param="examples")


@pytest.fixture
async def pets(state: State) -> StoredLabelSet:
    return await state.label_sets.put("pets", PETS)


async def end(state: State, job: Job, how: str) -> Job | None:
    """One of the ways in which a job ends."""
    if how == "succeeded":
        return await state.jobs.finish(job.id, {}, None)
    if how == "failed":
        return await state.jobs.fail(job.id, WHY)
    return await state.jobs.cancel(job.id, cancelled(job.id))


async def test_a_new_job_is_queued_and_can_be_found(state: State, pets: StoredLabelSet) -> None:
    new = new_job(pets, request_id="mine")
    job = await state.jobs.create(new)
    assert job == await state.jobs.get(new.id)
    assert (job.id, job.kind, job.label_set, job.digest) == (new.id, "controller", "pets", PETS.digest)
    assert (job.request_id, job.state, job.progress) == ("mine", "queued", 0.0)
    assert (job.result, job.error, job.started_at, job.finished_at) == (None, None, None, None)
    assert job.created_at.tzinfo is not None


async def test_what_is_not_there_is_not_found_and_not_changed(state: State) -> None:
    assert await state.jobs.get("job_none") is None
    assert await state.jobs.start("job_none") is None
    assert await state.jobs.progress("job_none", 0.5) is False
    assert await state.jobs.finish("job_none", {}, content()) is None
    assert await state.jobs.fail("job_none", WHY) is None
    assert await state.jobs.cancel("job_none", WHY) is None


async def test_a_job_runs_tells_how_far_it_is_and_succeeds(state: State, pets: StoredLabelSet) -> None:
    queued = await state.jobs.create(new_job(pets))
    running = await state.jobs.start(queued.id)
    assert running is not None
    assert running.state == "running"
    assert running.started_at is not None
    assert running.started_at >= queued.created_at
    assert await state.jobs.progress(queued.id, 0.25) is True
    assert (await found(state, queued.id)).progress == 0.25
    done = await state.jobs.finish(queued.id, {"accepted": False, "why": "Zürich 🚋"}, None)
    assert done == await state.jobs.get(queued.id)
    assert done is not None
    assert (done.state, done.progress, done.error) == ("succeeded", 1.0, None)
    assert done.result == {"accepted": False, "why": "Zürich 🚋"}
    assert done.finished_at is not None
    assert done.finished_at >= running.started_at
    assert list(await state.artefacts.list("pets", "controller")) == []


async def test_success_stores_and_activates_its_artefact_and_says_its_version(
    state: State, pets: StoredLabelSet
) -> None:
    for number in (1, 2):
        job = await running_job(state, pets)
        done = await state.jobs.finish(job.id, {"gain": 0.1}, content(number))
        assert done is not None
        assert done.result == {"gain": 0.1, "version": number}
    artefact = await state.artefacts.get("pets", "controller")
    assert artefact is not None
    assert artefact.about.version == 2
    assert artefact.about.digest == PETS.digest
    assert artefact.tensors == content(2).tensors


async def test_a_failed_job_says_why(state: State, pets: StoredLabelSet) -> None:
    job = await running_job(state, pets)
    await state.jobs.progress(job.id, 0.5)
    failed = await state.jobs.fail(job.id, WHY)
    assert failed is not None
    assert (failed.state, failed.progress, failed.result) == ("failed", 0.5, None)
    assert failed.error == JobError("It broke.", "server_error", "examples", "internal_error")
    assert failed.finished_at is not None


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_job_may_end_before_it_began(state: State, pets: StoredLabelSet, how: str) -> None:
    job = await state.jobs.create(new_job(pets))
    ended = await end(state, job, how)
    assert ended is not None
    assert ended.state == how
    assert await state.jobs.start(job.id) is None
    assert await state.jobs.get(job.id) == ended


async def test_a_job_that_only_waits_cannot_succeed(state: State, pets: StoredLabelSet) -> None:
    job = await state.jobs.create(new_job(pets))
    assert await state.jobs.finish(job.id, {}, content()) is None
    assert await state.jobs.progress(job.id, 0.5) is False
    assert await state.jobs.get(job.id) == job
    assert await state.artefacts.get("pets", "controller") is None


@pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled"])
async def test_a_finished_job_never_changes_again(state: State, pets: StoredLabelSet, how: str) -> None:
    job = await running_job(state, pets)
    ended = await end(state, job, how)
    assert ended is not None
    assert ended.state == how
    assert await state.jobs.start(job.id) is None
    assert await state.jobs.progress(job.id, 0.9) is False
    assert await state.jobs.finish(job.id, {"late": True}, content()) is None
    assert await state.jobs.fail(job.id, InternalError("later")) is None
    assert await state.jobs.cancel(job.id, cancelled(job.id)) == ended
    await state.jobs.create(new_job(pets))
    await state.label_sets.delete("pets")
    assert await state.jobs.get(job.id) == ended
    assert await state.artefacts.get("pets", "controller") is None


@pytest.mark.parametrize("before", ["queued", "running"])
async def test_a_newer_job_supersedes_the_older_of_its_kind_and_label_set_alone(
    state: State, pets: StoredLabelSet, before: str
) -> None:
    animals = await state.label_sets.put("animals", PETS)
    older = await state.jobs.create(new_job(pets))
    others = [await state.jobs.create(new_job(pets, "cascade")), await state.jobs.create(new_job(animals))]
    if before == "running":
        await state.jobs.start(older.id)
    newer = await state.jobs.create(new_job(pets))
    superseded = await found(state, older.id)
    assert superseded.state == "cancelled"
    assert superseded.error is not None
    assert superseded.error.code == "job_superseded"
    assert f"superseded by {newer.id}" in superseded.error.message
    for other in [*others, newer]:
        assert await state.jobs.get(other.id) == other
    assert await state.jobs.finish(older.id, {}, content()) is None
    assert await state.artefacts.get("pets", "controller") is None


async def test_a_job_for_contents_that_are_gone_is_not_created(state: State, pets: StoredLabelSet) -> None:
    older = await state.jobs.create(new_job(pets))
    with pytest.raises(LabelSetChangedError):
        await state.jobs.create(replace(new_job(pets), digest=CARS.digest))
    with pytest.raises(NotFoundError):
        await state.jobs.create(replace(new_job(pets), label_set="nowhere"))
    assert await state.jobs.get(older.id) == older, "it was not superseded by one that was refused"
    assert len((await state.jobs.list(label_set=None, after=None, limit=10)).items) == 1


@pytest.mark.parametrize("before", ["queued", "running"])
@pytest.mark.parametrize("change", ["replaced", "deleted"])
async def test_a_label_set_that_changes_ends_its_jobs(
    state: State, pets: StoredLabelSet, before: str, change: str
) -> None:
    animals = await state.label_sets.put("animals", PETS)
    mine = [await state.jobs.create(new_job(pets, kind)) for kind in ("controller", "cascade")]
    theirs = await state.jobs.create(new_job(animals))
    if before == "running":
        for job in mine:
            await state.jobs.start(job.id)
    await (state.label_sets.put("pets", CARS) if change == "replaced" else state.label_sets.delete("pets"))
    for job in mine:
        ended = await found(state, job.id)
        assert ended.state == "cancelled"
        assert ended.error is not None
        assert ended.error.code == "label_set_changed"
        assert change in ended.error.message
        assert await state.jobs.finish(job.id, {}, content()) is None
        assert list(await state.artefacts.list("pets", job.kind)) == []
    assert await state.jobs.get(theirs.id) == theirs


async def test_a_label_set_that_comes_back_does_not_bring_its_jobs_back(state: State, pets: StoredLabelSet) -> None:
    job = await running_job(state, pets)
    await state.label_sets.delete("pets")
    again = await state.label_sets.put("pets", PETS)
    assert await state.jobs.finish(job.id, {}, content()) is None
    newer = await running_job(state, again)
    done = await state.jobs.finish(newer.id, {}, content())
    assert done is not None
    assert done.result == {"version": 1}


async def test_putting_the_same_contents_again_disturbs_no_job(state: State, pets: StoredLabelSet) -> None:
    job = await running_job(state, pets)
    await state.label_sets.put("pets", PETS)
    assert await state.jobs.get(job.id) == job


@pytest.mark.parametrize("result", [{"loss": float("inf")}, {"loss": object()}])
async def test_a_result_that_is_no_json_changes_nothing(
    state: State, pets: StoredLabelSet, result: dict[str, object]
) -> None:
    job = await running_job(state, pets)
    with pytest.raises((TypeError, ValueError)):
        await state.jobs.finish(job.id, result, content())
    assert await state.jobs.get(job.id) == job
    assert await state.artefacts.get("pets", "controller") is None


async def test_of_finishing_and_cancelling_at_the_same_time_one_wins(
    state: State, other: State, pets: StoredLabelSet
) -> None:
    for version in range(1, 11):
        job = await running_job(state, pets)
        finished, cancelled_or_not = await asyncio.gather(
            state.jobs.finish(job.id, {}, content()), other.jobs.cancel(job.id, cancelled(job.id))
        )
        ended = await found(other, job.id)
        assert cancelled_or_not == ended
        artefact = await state.artefacts.get("pets", "controller")
        if finished is None:
            assert ended.state == "cancelled"
            assert artefact is None
            # So that the numbers go on as the loop has them.
            await state.artefacts.put("pets", "controller", PETS.digest, content())
        else:
            assert ended == finished
            assert artefact is not None
            assert artefact.about.version == version
        await state.artefacts.delete("pets", "controller")


async def test_listing_goes_page_by_page_newest_first(state: State) -> None:
    names = ("a", "b", "a", "c", "a")
    sets = {name: await state.label_sets.put(name, PETS) for name in sorted(set(names))}
    ids = [(await state.jobs.create(new_job(sets[name]))).id for name in names]
    newest = ids[::-1]
    first = await state.jobs.list(label_set=None, after=None, limit=2)
    second = await state.jobs.list(label_set=None, after=newest[1], limit=3)
    assert ([job.id for job in first.items], first.has_more) == (newest[:2], True)
    assert ([job.id for job in second.items], second.has_more) == (newest[2:], False)
    of_a = await state.jobs.list(label_set="a", after=newest[0], limit=5)
    assert [job.id for job in of_a.items] == [ids[2], ids[0]]
    assert (await state.jobs.list(label_set="nowhere", after=None, limit=5)).items == ()
    assert (await state.jobs.list(label_set=None, after=ids[0], limit=5)).items == ()


async def test_finished_jobs_leave_after_their_time_and_unfinished_ones_stay(
    state: State, pets: StoredLabelSet, open_state: OpenState
) -> None:
    ended = await running_job(state, pets)
    await state.jobs.finish(ended.id, {}, None)
    running = await running_job(state, pets)
    await state.jobs.sweep()
    assert await state.jobs.get(ended.id) is not None
    impatient = open_state(Retention(earlier_versions=2, job_ttl_s=0.0, finished_jobs=100))
    await impatient.start()
    await impatient.jobs.sweep()
    assert await state.jobs.get(ended.id) is None
    assert await state.jobs.get(running.id) == running
    await impatient.close()


async def test_of_finished_jobs_the_stated_number_is_kept_those_that_ended_last(
    state: State, pets: StoredLabelSet, open_state: OpenState
) -> None:
    ids = []
    for _ in range(4):
        job = await running_job(state, pets)
        await state.jobs.finish(job.id, {}, None)
        ids.append(job.id)
    waiting = await state.jobs.create(new_job(pets))
    strict = open_state(replace(RETENTION, finished_jobs=2))
    await strict.start()
    await strict.jobs.sweep()
    kept = (await state.jobs.list(label_set=None, after=None, limit=10)).items
    assert [job.id for job in kept] == [waiting.id, ids[3], ids[2]]
    await strict.close()


async def test_jobs_of_a_process_that_is_gone_are_interrupted(
    state: State, pets: StoredLabelSet, open_state: OpenState
) -> None:
    gone = open_state()
    await gone.start()
    animals = await gone.label_sets.put("animals", PETS)
    abandoned = [await running_job(gone, pets), await gone.jobs.create(new_job(animals))]
    over = await running_job(gone, pets, "cascade")
    done = await gone.jobs.finish(over.id, {}, None)
    await gone.close()
    swept = await state.jobs.sweep()
    assert {job.id for job in swept} == {job.id for job in abandoned}
    for job in swept:
        assert job == await state.jobs.get(job.id)
        assert job.state == "failed"
        assert job.error is not None
        assert job.error.code == "job_interrupted"
        assert "send the call that started it again" in job.error.message
    assert await state.jobs.get(over.id) == done
    assert list(await state.jobs.sweep()) == [], "they are told once"


async def test_jobs_of_a_process_that_lives_are_left_alone(state: State, pets: StoredLabelSet, other: State) -> None:
    mine, theirs = await running_job(state, pets), await running_job(other, pets, "cascade")
    for each in (state, other):
        assert list(await each.jobs.sweep()) == []
    assert await state.jobs.get(mine.id) == mine
    assert await state.jobs.get(theirs.id) == theirs


async def test_every_process_sees_and_may_end_the_jobs_of_the_others(
    state: State, pets: StoredLabelSet, other: State
) -> None:
    job = await running_job(state, pets)
    assert await other.jobs.get(job.id) == job
    ended = await other.jobs.cancel(job.id, cancelled(job.id))
    assert await state.jobs.progress(job.id, 0.5) is False
    assert await state.jobs.get(job.id) == ended


async def test_an_error_of_any_kind_can_be_kept(state: State, pets: StoredLabelSet) -> None:
    for error in (QuorumError("Zürich 🚋"), NotFoundError('"x"', param="a[0].b"), cancelled("job_x")):
        job = await running_job(state, pets)
        failed = await state.jobs.fail(job.id, error)
        assert failed is not None
        assert failed.error == JobError(error.message, error.type, error.param, error.code)
