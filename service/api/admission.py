"""A permit before any work: beyond what the process can hold, callers are told at once when to come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from service.errors import TooManyRequestsError

SMOOTHING: Final = 0.1
"""Share of the newest request in the moving average of how long a permit is held."""

BUSY_SHARE: Final = 0.5
"""Of the permits. With more of them held, nothing is done beside requests."""


class Admission:
    """Counts requests in flight; used from the event loop alone.

    While `draining`, requests that still come are answered like all others: their callers could not know.
    """

    def __init__(self, max_inflight: int, on_change: Callable[[int], None]) -> None:
        self._max_inflight = max_inflight
        self._on_change = on_change
        self._inflight = 0
        self._held_s = 0.0
        self.draining = False

    @property
    def has_room(self) -> bool:
        """Whether requests leave room for work that nobody waits for."""
        return not self.draining and self._inflight <= max(1, int(BUSY_SHARE * self._max_inflight))

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a permit. Raises `TooManyRequestsError` with the measured time until one is likely to be free."""
        if self._inflight >= self._max_inflight:
            raise TooManyRequestsError(
                f"{self._inflight} requests are in flight, which is the limit. Try again later.",
                retry_after_s=self._held_s,
            )
        started_s = time.monotonic()
        self._change(+1)
        try:
            yield
        finally:
            self._change(-1)
            self._held_s += SMOOTHING * (time.monotonic() - started_s - self._held_s)

    def _change(self, by: int) -> None:
        self._inflight += by
        self._on_change(self._inflight)
