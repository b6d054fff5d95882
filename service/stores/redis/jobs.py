"""Jobs and their states. Every change asks for the state that it starts from, so that none undoes another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.errors import OutcomeUnknownError, QuorumError, UnavailableError
from service.stores.base import ArtefactContent, Job, NewJob, Page, Retention
from service.stores.following import Followed
from service.stores.reasons import interrupted, superseded
from service.stores.redis import scripts
from service.stores.redis.artefacts import Active, check, packed
from service.stores.redis.link import Link
from service.stores.redis.presence import Pulse
from service.stores.redis.rows import dump_error, dump_json, read_job
from service.stores.redis.scripts import Script, Word

log = logging.getLogger(__name__)

MICROSECONDS: Final = 1_000_000


class RedisJobs:
    """A call whose answer was lost is remembered: asked once more, it finds its own doing and says so.

    A job that may have been created that way has nobody who runs it, and is interrupted by the next `sweep`.
    """

    def __init__(self, link: Link, retention: Retention, pulse: Pulse, followed: Followed[Active]) -> None:
        self._link = link
        self._retention = retention
        self._pulse = pulse
        self._followed = followed
        self._unanswered: set[tuple[Script, str]] = set()

    async def create(self, new: NewJob) -> Job:
        why = dump_error(superseded(new.id, new.kind))
        values = (self._pulse.owner, new.kind, new.label_set, new.digest, new.request_id, why)
        outcome, *row = await self._write(scripts.CREATE_JOB, new.id, *values)
        check(outcome, new.label_set)
        return _found(row[0])

    async def start(self, job_id: str) -> Job | None:
        return read_job(
            await self._write(scripts.START_JOB, job_id, self._pulse.owner, self._again(scripts.START_JOB, job_id))
        )

    async def progress(self, job_id: str, fraction: float) -> bool:
        running: int = await self._link.write(scripts.JOB_PROGRESS, job_id, fraction)
        return running == 1

    async def finish(self, job_id: str, result: Mapping[str, Any], artefact: ArtefactContent | None) -> Job | None:
        again = self._again(scripts.FINISH_JOB, job_id)
        made = () if artefact is None else packed(artefact, self._retention)
        outcome, row = await self._write(scripts.FINISH_JOB, job_id, again, dump_json(result), *made)
        if outcome != b"over":
            check(outcome, row.decode())
        job = read_job(row)
        if job is not None:
            self._followed.stale(job.label_set)
        return job

    async def fail(self, job_id: str, error: QuorumError) -> Job | None:
        again = self._again(scripts.END_JOB, job_id)
        ended, row = await self._write(scripts.END_JOB, job_id, "failed", dump_error(error))
        job = read_job(row)
        return job if ended or (again and job is not None and job.state == "failed") else None

    async def cancel(self, job_id: str, error: QuorumError) -> Job | None:
        _, row = await self._link.write(scripts.END_JOB, job_id, "cancelled", dump_error(error))
        return read_job(row)

    async def get(self, job_id: str) -> Job | None:
        return read_job(await self._link.read(scripts.GET_JOB, job_id))

    async def list(self, *, label_set: str | None, after: str | None, limit: int) -> Page[Job]:
        start = "+" if after is None else f"({after}"
        rows = await self._link.read(scripts.LIST_JOBS, label_set or "", start, limit + 1)
        found = [read_job(row) for row in rows[:limit]]
        return Page(tuple(job for job in found if job is not None), has_more=len(rows) > limit)

    async def sweep(self) -> Sequence[Job]:
        """Nothing while the server is away: that was logged, and what is there to do will be done later."""
        try:
            await self._end_nobodys()
            rows = await self._link.write(scripts.INTERRUPT_JOBS, dump_error(interrupted()), *await self._dead())
            ttl = round(self._retention.job_ttl_s * MICROSECONDS)
            await self._link.write(scripts.FORGET_JOBS, ttl, self._retention.finished_jobs)
        except UnavailableError:
            log.debug("jobs could not be swept")
            return ()
        return [_found(row) for row in rows]

    async def _dead(self) -> set[str]:
        """Processes that did not renew their lease although the server could be reached all the time.

        Looked at twice: a clock that jumps ends every lease at once, and the living renew theirs at their next beat.
        """
        if not self._pulse.is_steady:
            return set()
        missing = await self._missing()
        if missing:
            await asyncio.sleep(2 * self._pulse.timing.beat_s)
            missing &= await self._missing()
        return missing if self._pulse.is_steady else set()

    async def _missing(self) -> set[str]:
        found = {owner.decode() for owner in await self._link.read(scripts.MISSING_OWNERS)}
        return found - {self._pulse.owner}

    async def _end_nobodys(self) -> None:
        for script, job_id in list(self._unanswered):
            if script is scripts.CREATE_JOB:
                await self._link.write(scripts.END_JOB, job_id, "failed", dump_error(interrupted()))
                self._unanswered.discard((script, job_id))

    def _again(self, script: Script, job_id: str) -> int:
        return int((script, job_id) in self._unanswered)

    async def _write(self, script: Script, job_id: str, *arguments: Word) -> Any:
        try:
            answer = await self._link.write(script, job_id, *arguments)
        except OutcomeUnknownError:
            self._unanswered.add((script, job_id))
            raise
        self._unanswered.discard((script, job_id))
        return answer


def _found(row: Sequence[bytes]) -> Job:
    job = read_job(row)
    if job is None:
        raise RuntimeError("a job is gone in the transaction that wrote it")
    return job
