"""How often, how long and when a call is tried.

The library `httpx-retries` (0.6.0) does this for httpx alone: it depends on that package and catches its exceptions,
not those of the successor used here, hence this small module.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from service.client.calls import Call
from service.client.errors import (
    ApiError,
    ClientError,
    ConnectionFailedError,
    TimedOutError,
    UnexpectedResponseError,
    origin,
)

REFUSED_FOR_NOW: Final = frozenset({429, 503})
"""Both say that nothing was done, so that even a write can be sent again."""

CONNECTION_LOST: Final = (httpx2.NetworkError, httpx2.ConnectTimeout, httpx2.RemoteProtocolError)
"""What a later attempt may be spared. A read timeout is not among them: the server is slow, and would do it twice."""

READ_MARGIN_S: Final = 5.0
"""How much longer than its deadline a call may take on the way."""

NEVER_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)

# Reading: the longest deadline that a server allows by default (60 s), and the margin.
DEFAULT_TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=60.0 + READ_MARGIN_S, write=30.0, pool=5.0)


@dataclass(frozen=True, slots=True)
class Retry:
    """A call is sent again after 429 and 503, and when it is repeatable also after a lost connection.

    It waits as long as `Retry-After` says, and where nobody says anything twice as long each time from `backoff_s` on;
    up to `jitter` of that on top, so that callers refused together do not come back together. A wait longer than
    `max_wait_s`, or that ends after `deadline_s` (of the whole call, every attempt included), is not begun: the error
    is raised at once, and has the `retry_after_s` for whoever wants to wait.
    """

    max_attempts: int = 4
    deadline_s: float = 120.0
    max_wait_s: float = 20.0
    backoff_s: float = 0.5
    jitter: float = 0.25


DEFAULT_RETRY: Final = Retry()
NO_RETRY: Final = Retry(max_attempts=1)


class Attempts:
    """The attempts at one call. Knows no socket and never sleeps, so both clients can use it."""

    def __init__(
        self, call: Call[Any], retry: Retry, timeout: httpx2.Timeout, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._call = call
        self._retry = retry
        self._timeout = timeout
        self._clock = clock
        self._deadline_s = clock() + retry.deadline_s
        self._count = 0

    def request(self, http: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """The next attempt. Each of its waits ends at the deadline at the latest."""
        self._count += 1
        call = self._call
        return http.build_request(
            call.method,
            call.path,
            params=call.params,
            content=call.json,
            data=call.data,
            files=call.files,
            headers={"Content-Type": "application/json"} if call.json is not None else None,
            timeout=self._timeouts(),
        )

    def check(self, response: httpx2.Response) -> httpx2.Response:
        """Raises `ApiError` unless the response is a success."""
        if not response.is_success:
            raise ApiError.of(response)
        return response

    def wait_s(self, error: httpx2.RequestError | ApiError) -> float:
        """Seconds until the next attempt. Raises the `ClientError` that `error` is when there shall be none."""
        ours = error if isinstance(error, ApiError) else _ours(error)
        if self._count >= self._retry.max_attempts or not self._worth_repeating(error):
            raise ours from error
        asked_s = error.retry_after_s if isinstance(error, ApiError) else None
        least_s = self._retry.backoff_s * 2 ** (self._count - 1) if asked_s is None else asked_s
        wait_s = least_s * (1 + self._retry.jitter * random.random())
        if least_s > self._retry.max_wait_s or self._clock() + wait_s >= self._deadline_s:
            raise ours from error
        return wait_s

    def _worth_repeating(self, error: httpx2.RequestError | ApiError) -> bool:
        if isinstance(error, ApiError):
            return error.status in REFUSED_FOR_NOW
        return self._call.repeatable and isinstance(error, CONNECTION_LOST)

    def _timeouts(self) -> httpx2.Timeout:
        left_s = max(0.001, self._deadline_s - self._clock())
        limits = self._timeout.as_dict()
        if self._call.answer_within_s is not None:
            limits["read"] = self._call.answer_within_s + READ_MARGIN_S
        return httpx2.Timeout(
            **{name: left_s if limit is None else min(limit, left_s) for name, limit in limits.items()}
        )


def _ours(error: httpx2.RequestError) -> ClientError:
    url = error.request.url
    server = origin(url)
    if isinstance(error, NEVER_SENT):
        reason = str(error) or type(error).__name__
        return ConnectionFailedError(f"{server} cannot be reached: {reason}.", url=server, may_have_arrived=False)
    if isinstance(error, httpx2.TimeoutException):
        sentence = f"{server} did not answer {error.request.method} {url.path} in time."
        return TimedOutError(sentence, url=server, may_have_arrived=True)
    if isinstance(error, httpx2.TransportError):
        reason = str(error) or type(error).__name__
        return ConnectionFailedError(
            f"The connection to {server} was lost: {reason}.", url=server, may_have_arrived=True
        )
    return UnexpectedResponseError(f"{server} answered in a way that cannot be read: {error}.")
