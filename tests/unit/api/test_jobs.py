"""`/v1/jobs`: what is going on, what came of it, and stopping it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from service.api.services import Services
from service.errors import InvalidImageError
from service.jobs.control import JobControl, Outcome, Work
from service.policies import ArtefactKind
from service.stores.base import Job
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, error_of
from tests.support.asgi import metric
from tests.support.jobs import Gated, until
from tests.support.state import content

URL = "/v1/jobs"
FIELDS = {
    *("id", "object", "kind", "label_set", "state", "progress", "result", "error"),
    *("created_at", "started_at", "finished_at"),
}


@dataclass(frozen=True)
class Api:
    """A served application; jobs are begun as its handlers begin them."""

    client: httpx2.AsyncClient
    services: Services

    async def begin(self, work: Work, name: str = "pets", kind: ArtefactKind = "controller") -> Job:
        if (await self.client.get(f"/v1/label-sets/{name}")).status_code == 404:
            assert (await self.client.put(f"/v1/label-sets/{name}", json={"labels": LABELS})).status_code == 201
        stored = await self.services.label_sets.get(name)
        assert stored is not None
        return await self.services.runner.submit(stored, kind, work, request_id="the-call")

    async def shown(self, job: Job) -> dict[str, Any]:
        response = await self.client.get(f"{URL}/{job.id}")
        assert response.status_code == 200, response.text
        assert set(response.json()) == FIELDS
        return dict(response.json())

    async def reached(self, job: Job, state: str) -> dict[str, Any]:
        async def there() -> bool:
            return bool((await self.shown(job))["state"] == state)

        await until(there)
        return await self.shown(job)


@pytest.fixture
async def api(make_app: MakeApp, serve: Serve) -> AsyncIterator[Api]:
    app = make_app(drain_timeout_s=0.01)
    async with serve(app) as client:
        yield Api(client, app.state.services)


async def test_a_job_can_be_followed_from_running_to_its_result(api: Api) -> None:
    gated = Gated(Outcome({"gain": 0.25}, content()))
    job = await api.begin(gated)
    assert re.fullmatch(r"job_[0-9a-f]{29}", job.id)
    await gated.has_begun()
    running = await api.reached(job, "running")
    assert (running["kind"], running["label_set"], running["object"]) == ("controller", "pets", "job")
    assert (running["result"], running["error"], running["finished_at"]) == (None, None, None)
    gated.gate.set()
    done = await api.reached(job, "succeeded")
    assert (done["progress"], done["result"], done["error"]) == (1.0, {"gain": 0.25, "version": 1}, None)
    times = [datetime.fromisoformat(done[name]) for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert all(time.tzinfo for time in times)


async def test_a_failed_job_has_its_error_in_the_one_shape(api: Api) -> None:
    def work(_: JobControl) -> Outcome:
        raise InvalidImageError("No image can be read.", param="examples[0]")

    failed = await api.reached(await api.begin(work), "failed")
    assert failed["result"] is None
    assert failed["error"] == {
        "message": "No image can be read.",
        "type": "invalid_request_error",
        "param": "examples[0]",
        "code": "invalid_image",
        "request_id": "the-call",
    }


async def test_a_running_job_is_cancelled_and_cancelling_again_says_the_same(api: Api) -> None:
    gated = Gated()
    job = await api.begin(gated)
    await gated.has_begun()
    first = await api.client.delete(f"{URL}/{job.id}")
    assert first.status_code == 200
    assert (first.json()["state"], first.json()["error"]["code"]) == ("cancelled", "job_cancelled")
    await gated.has_left()
    assert gated.stopped
    again = await api.client.delete(f"{URL}/{job.id}")
    assert again.json() == first.json() == await api.shown(job)


async def test_what_is_over_cannot_be_cancelled(api: Api) -> None:
    job = await api.begin(lambda _: Outcome({}))
    done = await api.reached(job, "succeeded")
    error = error_of(await api.client.delete(f"{URL}/{job.id}"), 409, "conflict")
    assert (error["param"], error["message"]) == ("job_id", f"{job.id} succeeded before it could be cancelled.")
    assert await api.shown(job) == done


@pytest.mark.parametrize("job_id", ["job_none", "x" * 5_000, "%00", "%ff", "'%20OR%20'1'='1", "-1"])
async def test_what_is_not_there_is_a_404(api: Api, job_id: str) -> None:
    for method in ("GET", "DELETE"):
        assert error_of(await api.client.request(method, f"{URL}/{job_id}"), 404, "not_found")["param"] == "job_id"


async def test_jobs_are_listed_newest_first_page_by_page(api: Api) -> None:
    names = ["a", "b", "a", "a", "b"]
    jobs = [await api.begin(lambda _: Outcome({}), name) for name in names]
    for job, name in zip(jobs, names, strict=True):
        assert job.label_set == name
    seen: list[str] = []
    page: dict[str, Any] = {"has_more": True, "last_id": None}
    while page["has_more"]:
        after = {"after": page["last_id"]} if page["last_id"] else {}
        page = (await api.client.get(URL, params={"limit": 2, **after})).json()
        assert set(page) == {"object", "data", "has_more", "first_id", "last_id"}
        assert all(set(each) == FIELDS for each in page["data"])
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        seen += [each["id"] for each in page["data"]]
    assert seen == [job.id for job in reversed(jobs)]
    of_b = (await api.client.get(URL, params={"label_set": "b"})).json()["data"]
    assert [each["id"] for each in of_b] == [jobs[4].id, jobs[1].id]
    nobody = (await api.client.get(URL, params={"label_set": "nobody"})).json()
    assert nobody == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
async def test_a_wrong_limit_is_named(api: Api, query: str) -> None:
    assert error_of(await api.client.get(f"{URL}?{query}"), 422, "invalid_request")["param"] == "limit"


@pytest.mark.parametrize("query", ["after=%00", "after=%ff", "after=zzz", "label_set=%00", "label_set='%20OR%201=1"])
async def test_strange_words_are_only_words(api: Api, query: str) -> None:
    assert (await api.client.get(f"{URL}?{query}")).status_code == 200


async def test_jobs_are_counted_without_their_names(api: Api) -> None:
    await api.reached(await api.begin(lambda _: Outcome({})), "succeeded")
    gated, waiting = Gated(), Gated()
    running, queued = await api.begin(gated), await api.begin(waiting, kind="cascade")
    await gated.has_begun()
    text = (await api.client.get("/metrics")).text
    assert metric(text, "quorum_jobs_total", kind="controller", outcome="succeeded") == 1
    assert metric(text, "quorum_job_seconds_count", kind="controller") == 1
    assert (metric(text, "quorum_jobs_running"), metric(text, "quorum_jobs_queued")) == (1, 1)
    assert not [job for job in (running, queued) if job.id in text]
    assert "pets" not in text


async def test_a_job_that_cannot_be_stopped_turns_health_red(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await api.client.get("/healthz")).status_code == 200
    monkeypatch.setattr(api.services.runner, "problems", lambda: ["A job does not end."])
    for path in ("/healthz", "/readyz"):
        assert error_of(await api.client.get(path), 503, "unavailable")["message"] == "A job does not end."
    assert (await api.client.get("/info")).json()["problems"] == ["A job does not end."]


async def test_a_restart_tells_whose_job_it_ended(make_app: MakeApp, serve: Serve) -> None:
    app = make_app(drain_timeout_s=0.01)
    gated = Gated()
    async with serve(app) as client:
        job = await Api(client, app.state.services).begin(gated)
        await gated.has_begun()
    app = make_app()
    async with serve(app) as client:
        shown = await Api(client, app.state.services).shown(job)
    assert (shown["state"], shown["error"]["code"]) == ("failed", "job_interrupted")
    assert shown["error"]["request_id"] == "the-call"


async def test_while_serving_numpy_multiplies_in_one_thread(make_app: MakeApp, serve: Serve) -> None:
    def blas_threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(limits=2, user_api="blas"):
        assert set(blas_threads()) == {2}, "numpy's BLAS is one that can be told"
        async with serve(make_app()):
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}
