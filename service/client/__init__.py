"""A small typed client of the API, synchronous and asynchronous.

    with QuorumClient("http://127.0.0.1:8000") as quorum:
        answer = quorum.classify([Path("cat.jpg")], labels=["cat", "dog"])

It imports neither the web framework nor an engine: what both sides share are the models of `service.api.schemas`.
"""

from service.client.attempts import DEFAULT_RETRY, DEFAULT_TIMEOUT, NO_RETRY, Retry
from service.client.calls import Call, ClassifyOptions
from service.client.clients import DEFAULT_URL, AsyncQuorumClient, QuorumClient
from service.client.errors import (
    ApiError,
    ClientError,
    ConnectionFailedError,
    TimedOutError,
    UnexpectedResponseError,
)

__all__ = [
    "DEFAULT_RETRY",
    "DEFAULT_TIMEOUT",
    "DEFAULT_URL",
    "NO_RETRY",
    "ApiError",
    "AsyncQuorumClient",
    "Call",
    "ClassifyOptions",
    "ClientError",
    "ConnectionFailedError",
    "QuorumClient",
    "Retry",
    "TimedOutError",
    "UnexpectedResponseError",
]
