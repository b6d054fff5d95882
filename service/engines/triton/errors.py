"""What goes wrong between the gateway and Triton, in the service's own words. Nothing else maps foreign errors."""

from __future__ import annotations

import grpc

from service.deadline import deadline_error
from service.errors import BackboneFailedError, QuorumError, UnavailableError

RETRY_AFTER_S = 1.0

# The input was refused, or running the tower on it failed: the only answers that one row may be to blame for.
_FAILED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.DATA_LOSS,
}


def error_of(code: grpc.StatusCode, tower: str) -> QuorumError:
    """Every code that is not named here (a full queue, a connection that broke, no such service) is "not now"."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return late(tower)
    if code is grpc.StatusCode.NOT_FOUND:
        return not_loaded(tower)
    if code in _FAILED:
        return failed(tower)
    return UnavailableError(f"Triton cannot run {tower} now. Try again.", retry_after_s=RETRY_AFTER_S)


def late(tower: str) -> QuorumError:
    return deadline_error(f"waiting for {tower}")


def failed(tower: str) -> BackboneFailedError:
    return BackboneFailedError(f"{tower} failed on this input.", retry_after_s=RETRY_AFTER_S)


def not_loaded(tower: str) -> UnavailableError:
    return UnavailableError(f"{tower} is not loaded on Triton. Try again.", retry_after_s=RETRY_AFTER_S)


def differs(tower: str) -> UnavailableError:
    return UnavailableError(
        f"Triton serves another {tower} than this server's model repository holds.", retry_after_s=RETRY_AFTER_S
    )


def away(tower: str) -> UnavailableError:
    return UnavailableError(
        f"No Triton server that runs {tower} can be reached. Try again.", retry_after_s=RETRY_AFTER_S
    )
