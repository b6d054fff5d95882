"""How long a job is looked at, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from service.api.schemas import JobOut
from service.client.errors import JobFailedError, JobUnfinishedError

OnProgress = Callable[[JobOut], None]

FIRST_LOOK_S: Final = 0.1
LONGEST_S: Final = 1.0
"""Between two looks: as often as a server stores a running job's progress."""


class Looks:
    """The looks at one job. Knows no socket and never sleeps, so both clients can use it."""

    def __init__(self, on_progress: OnProgress | None, timeout_s: float | None, clock: Callable[[], float]) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._ends_s = None if timeout_s is None else clock() + timeout_s
        self._wait_s = FIRST_LOOK_S

    def wait_s(self, job: JobOut) -> float | None:
        """Seconds until the next look, None once `job` has succeeded. Raises `JobError` when there will be none."""
        if self._on_progress is not None:
            self._on_progress(job)
        if job.state == "succeeded":
            return None
        if job.state in ("failed", "cancelled"):
            raise JobFailedError(job)
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, LONGEST_S)
        if self._ends_s is None:
            return wait_s
        left_s = self._ends_s - self._clock()
        if left_s <= 0:
            raise JobUnfinishedError(job)
        return min(wait_s, left_s)
