"""The rate limits of one process.

The generic cell rate algorithm (ITU-T I.371, annex A): a bucket is one number, the time at which it will be full again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FULL_S: Final = 60.0
"""How long an empty bucket takes to fill."""
ROUNDING_S: Final = 1e-6
"""Sixty seconds in n parts do not add up to sixty seconds exactly."""


class MemoryRateLimits:
    """Used from the event loop alone. Buckets are named by keys of the operator's file, so they are few."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at_s: dict[str, float] = {}

    async def take(self, bucket: str, amount: int, per_minute: int) -> float:
        now_s = self._clock()
        one_s = FULL_S / per_minute
        full_at_s = max(now_s, self._full_at_s.get(bucket, now_s))
        wait_s = full_at_s + one_s - FULL_S - now_s
        if wait_s > ROUNDING_S:
            return wait_s
        self._full_at_s[bucket] = full_at_s + amount * one_s
        return 0.0

    async def close(self) -> None:
        pass
