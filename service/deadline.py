"""A point in time by which an answer is due, passed down instead of being re-invented at each wait."""

from __future__ import annotations

import time
from dataclasses import dataclass

from service.errors import DeadlineExceededError


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

    def check(self, doing: str) -> None:
        """Raise `DeadlineExceededError` when no time is left for `doing`."""
        if self.passed:
            raise deadline_error(doing)


def deadline_error(doing: str) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"The deadline passed while {doing}. Send a longer deadline_ms, fewer images, or ask fewer backbones."
    )
