"""An application spoken to without a client, for callers who do what no client library does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Scope


class Caller:
    """One request, message by message: `feed` what arrives, `start` the application, look at what was `sent`."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        self.sent: list[Message] = []
        self._arriving: asyncio.Queue[Message] = asyncio.Queue()
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        self._scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "headers": raw,
            "client": ("test", 1),
            "server": ("test", 80),
        }

    def feed(self, body: bytes, *, more: bool = False) -> None:
        self._arriving.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def hang_up(self) -> None:
        self._arriving.put_nowait({"type": "http.disconnect"})

    def start(self, app: ASGIApp) -> asyncio.Task[None]:
        async def send(message: Message) -> None:
            self.sent.append(message)

        async def run() -> None:
            await app(self._scope, self._arriving.get, send)

        return asyncio.create_task(run())

    @property
    def status(self) -> int | None:
        return next((message["status"] for message in self.sent if "status" in message), None)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Unread:
    """A body that nobody may read."""

    def __aiter__(self) -> Unread:
        return self

    async def __anext__(self) -> bytes:
        raise AssertionError("the body was read")


def metric(text: str, name: str, **labels: Any) -> float:
    """One sample of Prometheus' text format; 0 when it is not there."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        found, _, rest = series.partition("{")
        if found == name and set(filter(None, rest.rstrip("}").split(","))) == wanted:
            return float(value)
    return 0.0
