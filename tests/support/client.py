"""Both clients behind one face, a server that answers what it is told to, and a clock that never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2

from service.client import AsyncQuorumClient, QuorumClient

JOB: dict[str, Any] = {
    "id": "job_1",
    "object": "job",
    "kind": "controller",
    "label_set": "pets",
    "state": "queued",
    "progress": 0.0,
    "result": None,
    "error": None,
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
}
Handler = Callable[[httpx2.Request], httpx2.Response]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class Server:
    """Answers with what it was given, in turn, the last one for ever; keeps what it was asked."""

    def __init__(self, *answers: httpx2.Response | type[httpx2.TransportError]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, type):
            raise answer("on purpose", request=request)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)


class Caller:
    """Calls a method of either client the same way, so that every test holds for both."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock = Clock()

    def __call__(self, handler: Handler, method: str, *args: Any, **options: Any) -> Any:
        settings = {name: options.pop(name) for name in ("retry", "api_key", "base_url") if name in options}
        if self.kind == "sync":
            return self._sync(handler, method, args, options, settings)
        return asyncio.run(self._async(handler, method, args, options, settings))

    def _sync(self, handler: Handler, method: str, args: Any, options: Any, settings: Any) -> Any:
        transport = httpx2.MockTransport(handler)
        with QuorumClient(transport=transport, sleep=self.clock.sleep, clock=self.clock, **settings) as client:
            result = getattr(client, method)(*args, **options)
            return list(result) if method.startswith("list_") else result

    async def _async(self, handler: Handler, method: str, args: Any, options: Any, settings: Any) -> Any:
        transport = httpx2.MockTransport(handler)
        client = AsyncQuorumClient(transport=transport, sleep=self.clock.sleep_async, clock=self.clock, **settings)
        async with client:
            result = getattr(client, method)(*args, **options)
            return [item async for item in result] if method.startswith("list_") else await result


def job(state: str, progress: float = 0.0, **changes: Any) -> httpx2.Response:
    """A job as the server tells of it."""
    return httpx2.Response(200, json={**JOB, "state": state, "progress": progress, **changes})


def ended(state: str, code: str) -> httpx2.Response:
    """A job without a result."""
    error = {"message": "Not today.", "type": "server_error", "param": None, "code": code, "request_id": "req_1"}
    return job(state, error=error)
