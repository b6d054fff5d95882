"""A process with jobs, to be killed: `python -m tests.support.job_process hold|loop|serve`; settings as ever.

`hold` has one finished, one running and one queued job, says so, and stays. `loop` finishes job after job and says each
one that was acknowledged. `serve` is `quorum serve` with a running job.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from fastapi import FastAPI

from service.api.services import Services
from service.app import create_app
from service.cli import server
from service.jobs.control import Outcome
from service.jobs.runner import new_job_id
from service.settings import Settings, TracingSettings
from tests.support.jobs import Gated, final
from tests.support.state import PETS, content, new_job


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def hold(services: Services) -> None:
    stored = await services.label_sets.put("pets", PETS)
    runner, gated = services.runner, Gated()
    done = await runner.submit(stored, "cascade", lambda _: Outcome({}, content()), request_id="one")
    await final(services, done)
    running = await runner.submit(stored, "controller", gated, request_id="two")
    await gated.has_begun()
    queued = await runner.submit(stored, "cascade", Gated(), request_id="three")
    say(done=done.id, running=running.id, queued=queued.id)
    await gated.has_left()
    say(stopped=gated.stopped)
    await asyncio.Event().wait()


async def loop(services: Services) -> None:
    stored = await services.label_sets.put("pets", PETS)
    for value in count(1):
        job = await services.jobs.create(replace(new_job(stored), id=new_job_id()))
        await services.jobs.start(job.id)
        done = await services.jobs.finish(job.id, {}, content(value))
        say(job=job.id, version=done and done.result and done.result["version"])


async def process(mode: str) -> None:
    app = create_app(Settings.from_environment())
    async with app.router.lifespan_context(app):
        await {"hold": hold, "loop": loop}[mode](app.state.services)


def create_app_with_a_job(settings: Settings, *, tracing: TracingSettings) -> FastAPI:
    app = create_app(settings, tracing=tracing)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with inner(app):
            services: Services = app.state.services
            gated = Gated()
            stored = await services.label_sets.put("pets", PETS)
            job = await services.runner.submit(stored, "controller", gated, request_id="one")
            await gated.has_begun()
            say(running=job.id)
            yield

    app.router.lifespan_context = lifespan
    return app


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        setattr(server, "create_app", create_app_with_a_job)  # noqa: B010  # an assignment is refused by the type checker
        server.run(Settings.from_environment(), announce=lambda greeting: say(greeting=greeting))
    else:
        asyncio.run(process(sys.argv[1]))
