"""What a call may raise.

    ClientError
    ├── ApiError                  the server refused, in its own words
    ├── ConnectionFailedError     no server answered
    │   └── TimedOutError         it did not answer in time
    └── UnexpectedResponseError   something answered that does not speak this API

Reading an image's file raises `OSError`, as everywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self

import httpx2
from pydantic import ValidationError

from service.api.schemas import ErrorEnvelope


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
    """`url` is where nobody answered."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class TimedOutError(ConnectionFailedError):
    pass


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
