"""A point in time by which an answer is due, passed down instead of being re-invented at each wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from service.errors import DeadlineExceededError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at_s` is on the monotonic clock."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """Never negative, so that it can be handed to any wait."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at_s

    async def wait_for(self, awaitable: Awaitable[T], doing: str) -> T:
        """What `awaitable` gives. Raises `DeadlineExceededError` when no time is left for `doing`; a coroutine is then
        not even begun.

        `asyncio.wait_for` would do, but Python 3.11's forgets that it was cancelled if what it waits for ends in the
        same moment: work that nobody wants any more would go on.
        """
        try:
            async with asyncio.timeout(self.remaining_s):
                return await asyncio.ensure_future(awaitable)
        except TimeoutError as error:
            raise deadline_error(doing) from error

    def check(self, doing: str) -> None:
        """Raise `DeadlineExceededError` when no time is left for `doing`."""
        if self.passed:
            raise deadline_error(doing)


def deadline_error(doing: str) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"The deadline passed while {doing}. Send a longer deadline_ms, fewer images, or ask fewer backbones."
    )
