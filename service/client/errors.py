"""What a call may raise.

    ClientError
    ├── ApiError                  the server refused, in its own words
    ├── ConnectionFailedError     no server answered
    │   └── TimedOutError         it did not answer in time
    ├── JobError                  a job that was waited for has no result
    │   ├── JobFailedError        it failed, or was cancelled
    │   └── JobUnfinishedError    it goes on, and the wait is over
    └── UnexpectedResponseError   something answered that does not speak this API

Reading an image's file raises `OSError`, as everywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self

import httpx2
from pydantic import ValidationError

from service.api.schemas import ErrorEnvelope, JobOut


class ClientError(Exception):
    """The root."""


class ApiError(ClientError):
    """An error answer. `code` is stable and for programs, `message` is for people, `param` names the field to mend."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        type: str,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.body = body
        """The answer as it came."""

    def __str__(self) -> str:
        request = f", request {self.request_id}" if self.request_id else ""
        return f"{self.message} ({self.code}, HTTP {self.status}{request})"

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        """An error in the one shape of the API, or in nobody's shape: a proxy's page has no code but its status."""
        retry_after_s = _seconds(response.headers.get("retry-after"))
        try:
            error = ErrorEnvelope.model_validate_json(response.content).error
        except ValidationError:
            return cls(
                f"{origin(response.url)} answered {response.status_code} {response.reason_phrase}.",
                status=response.status_code,
                code=f"http_{response.status_code}",
                type="unexpected_error",
                request_id=response.headers.get("x-request-id"),
                retry_after_s=retry_after_s,
                body=response.text,
            )
        return cls(
            error.message,
            status=response.status_code,
            code=error.code,
            type=error.type,
            param=error.param,
            request_id=error.request_id,
            retry_after_s=retry_after_s,
            body=response.text,
        )


class ConnectionFailedError(ClientError):
    """`url` is where nobody answered. Unless `may_have_arrived`, the server knows nothing of the call."""

    def __init__(self, message: str, *, url: str, may_have_arrived: bool) -> None:
        super().__init__(message)
        self.url = url
        self.may_have_arrived = may_have_arrived


class TimedOutError(ConnectionFailedError):
    pass


class JobError(ClientError):
    """`job` is as it was seen last."""

    def __init__(self, message: str, job: JobOut) -> None:
        super().__init__(message)
        self.message = message
        self.job = job


class JobFailedError(JobError):
    """`code` is stable and for programs: `job_cancelled`, `job_superseded`, `job_timeout`, `invalid_examples`, …"""

    def __init__(self, job: JobOut) -> None:
        super().__init__(f"{job.id} {job.state}." if job.error is None else job.error.message, job)
        self.code = job.state if job.error is None else job.error.code

    def __str__(self) -> str:
        return f"{self.message} ({self.code}, {self.job.id})"


class JobUnfinishedError(JobError):
    def __init__(self, job: JobOut) -> None:
        super().__init__(f"{job.id} is still {job.state}, {job.progress:.0%} done. It goes on; wait for it again.", job)


class UnexpectedResponseError(ClientError):
    pass


def origin(url: httpx2.URL) -> str:
    """What a message may name: a URL can carry a password."""
    return f"{url.scheme}://{url.netloc.decode()}"


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in either of its forms: seconds (what the server sends) or a date (what a proxy may send)."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds()) if at.tzinfo else None
