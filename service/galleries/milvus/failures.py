"""What the library raises, in our words: the one place that knows its codes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from service.errors import (
    GalleryFailedError,
    GalleryLoadingError,
    InternalError,
    NotFoundError,
    PayloadTooLargeError,
    QuorumError,
    UnavailableError,
)

log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 5.0
UNEXPECTED: Final = 1
NO_COLLECTION: Final = 100
NOT_LOADED: Final = 101
RATE_LIMITED: Final = 8
CONNECT_FAILED: Final = 2


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Every error of pymilvus and gRPC as one of ours, without its text; what is ours passes."""
    try:
        yield
    except QuorumError:
        raise
    except Exception as error:
        raise _ours(error, doing) from error


def _ours(error: Exception, doing: str) -> QuorumError:
    code = error_code(error)
    if code == NO_COLLECTION:
        return NotFoundError("There is no such gallery any more.")
    if code == NOT_LOADED:
        return GalleryLoadingError("The gallery is still being loaded. Try again.", retry_after_s=RETRY_AFTER_S)
    if code == RATE_LIMITED:
        return UnavailableError("The gallery store has too much to do. Try again.", retry_after_s=RETRY_AFTER_S)
    if code in (CONNECT_FAILED, "UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"):
        log.warning("the gallery store cannot be reached while %s: %r", doing, error)
        return UnavailableError("The gallery store cannot be reached now. Try again.", retry_after_s=RETRY_AFTER_S)
    if code == "RESOURCE_EXHAUSTED":
        return PayloadTooLargeError("What was asked for is too large for one answer. Ask for fewer items at a time.")
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        log.error("the gallery store does not accept QUORUM_GALLERIES_TOKEN: %r", error)
        return UnavailableError(
            "The gallery store does not let this server in: its QUORUM_GALLERIES_TOKEN has to be mended.",
            retry_after_s=RETRY_AFTER_S,
        )
    log.error("the gallery store failed while %s", doing, exc_info=error)
    # Of the first kind it is not known what was done by then; what was refused was not done.
    kind = GalleryFailedError if code == UNEXPECTED and _was_sent(error) else InternalError
    return kind("The gallery store failed. The server's log has the cause, under this request's id.")


def _was_sent(error: Exception) -> bool:
    """Whether the store said it: pymilvus has other classes, or other words, for what it refuses itself."""
    return type(error).__name__ == "MilvusException" and "Unexpected error, message=" not in str(error)


def error_code(error: Exception) -> int | str | None:
    """A number of Milvus', or the name of gRPC's status: pymilvus puts either into `code`, as a value or a method."""
    code: Any = getattr(error, "code", None)
    if callable(code):
        code = code()
    name = getattr(code, "name", None)
    if isinstance(code, int):
        return int(code)
    return name if isinstance(name, str) else None
