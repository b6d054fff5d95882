"""What was acknowledged is there after the Redis server was killed, at any moment, again and again."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from service.errors import UnavailableError
from service.pipeline.labels import LabelSet
from service.stores.base import Retention
from service.stores.redis import RedisState
from tests.support.redis import redis_at
from tests.support.state import content, label_set, new_job, redis_state

ROUNDS = 8
WRITERS = 4
KEEP_ALL = Retention(earlier_versions=100_000, job_ttl_s=3_600.0, finished_jobs=100_000)


class Writer:
    """Puts and deletes names of its own, and finishes jobs with artefacts; remembers what it was promised.

    `promised` holds per name what is there, None for nothing; a name in `open` had a write without an answer.
    """

    def __init__(self, state: RedisState, number: int) -> None:
        self.promised: dict[str, LabelSet | None] = {}
        self.open: set[str] = set()
        self.versions: set[int] = set()
        self.writes = 0
        self.set_name = f"fitted-{number}"
        self._state = state
        self._number = number
        self._random = random.Random(number)

    async def run(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            name = f"set-{self._number}-{self._random.randrange(4)}"
            try:
                await self._write(name)
                await self._job()
            except UnavailableError:
                self.open.add(name)
                await asyncio.sleep(0.02)

    async def _write(self, name: str) -> None:
        new = None if self._random.random() < 0.2 else label_set(f"label {self._random.random()}", "other")
        if new is None:
            await self._state.label_sets.delete(name)
        else:
            await self._state.label_sets.put(name, new)
        self.promised[name] = new
        self.open.discard(name)
        self.writes += 1

    async def _job(self) -> None:
        stored = await self._state.label_sets.get(self.set_name)
        if stored is None:
            stored = await self._state.label_sets.put(self.set_name, label_set("cat", "dog"))
        job = await self._state.jobs.create(new_job(stored))
        await self._state.jobs.start(job.id)
        done = await self._state.jobs.finish(job.id, {}, content(self.writes))
        if done is not None and done.result is not None:
            self.versions.add(done.result["version"])
            self.writes += 1


async def test_nothing_acknowledged_is_lost_when_redis_is_killed(tmp_path: Path) -> None:
    moments = random.Random(5)
    with redis_at(tmp_path) as server:
        state = redis_state(server, KEEP_ALL)
        await state.start()
        writers = [Writer(state, number) for number in range(WRITERS)]
        for _ in range(ROUNDS):
            before = [writer.writes for writer in writers]
            ended = asyncio.Event()
            tasks = [asyncio.create_task(writer.run(ended)) for writer in writers]
            while any(writer.writes < start + 3 for writer, start in zip(writers, before, strict=True)):
                await asyncio.sleep(0.01)
            await asyncio.sleep(moments.uniform(0.0, 0.2))  # the moment of death is at random, and any is right
            server.kill()
            ended.set()
            await asyncio.gather(*tasks)
            await asyncio.to_thread(server.start)
            await check(server_state := redis_state(server, KEEP_ALL), writers)
            await server_state.close()
        await state.close()
    assert sum(writer.writes for writer in writers) >= 3 * ROUNDS * WRITERS


async def check(state: RedisState, writers: list[Writer]) -> None:
    """As another process finds it."""
    await state.start()
    for writer in writers:
        for name, promised in writer.promised.items():
            stored = await state.label_sets.get(name)
            if name not in writer.open:  # without an answer either outcome is right
                assert (None if stored is None else stored.label_set) == promised
        kept = {about.version for about in await state.artefacts.list(writer.set_name, "controller")}
        assert writer.versions <= kept
        jobs = (await state.jobs.list(label_set=writer.set_name, after=None, limit=100_000)).items
        made = {job.result["version"] for job in jobs if job.result is not None}
        assert made == kept, "a job and what it made are stored together or not at all"
        for version in writer.versions:
            artefact = await state.artefacts.get(writer.set_name, "controller", version)
            assert artefact is not None
            assert len(artefact.tensors) == len(content().tensors)
