"""How parts of a process tell that they are broken for good, so that it gets restarted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextvars import copy_context
from itertools import count
from typing import Any, Final, ParamSpec, Protocol, TypeVar

log = logging.getLogger(__name__)

STUCK_AFTER_S: Final = 60.0
"""Nothing that a request waits for takes a minute: its deadline passes before."""

CLOSE_LIMIT_S: Final = 1.0
"""For what threads still do when they are shut down. Nobody waits for its outcome any more."""

P = ParamSpec("P")
T = TypeVar("T")


class Watched(Protocol):
    def problems(self) -> list[str]:
        """What is broken for good in this process, one sentence each. Empty means healthy."""


def ended(*tasks: asyncio.Task[Any] | None) -> list[str]:
    """A sentence for each of `tasks` that has ended, which none of them ever should; None: it was not begun."""
    return [
        f'The task "{task.get_name()}" ended; the process has to be restarted.'
        for task in tasks
        if task is not None and task.done()
    ]


class WatchedThreads(ThreadPoolExecutor):
    """Keeps the context of its callers, and knows when one of its threads is stuck.

    What is run in it cannot end a thread, whatever it raises.
    """

    def __init__(self, threads: int, name: str, *, stuck_after_s: float = STUCK_AFTER_S) -> None:
        """`name` begins those of the threads."""
        super().__init__(threads, thread_name_prefix=name)
        self._name = name
        self._stuck_after_s = stuck_after_s
        self._numbers = count()
        self._busy_since_s: dict[int, float] = {}
        self._unfinished: set[Future[Any]] = set()
        self._closed = False
        self.left_behind = False
        """Whether a thread was stuck when all were shut down. The interpreter will wait for it at its end."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As in the standard library; lines of the log that `fn` writes know whose request it works for."""
        context, number = copy_context(), next(self._numbers)

        def run() -> T:
            self._busy_since_s[number] = time.monotonic()
            try:
                return context.run(fn, *args, **kwargs)
            finally:
                del self._busy_since_s[number]

        future = super().submit(run)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As in the standard library, but a thread that is stuck is waited for no longer than a moment."""
        self._closed = True
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        self.left_behind = wait and bool(wait_for(set(self._unfinished), CLOSE_LIMIT_S).not_done)
        if self.left_behind:
            log.warning("a thread of %s does not end, and is left behind", self._name)

    def problems(self) -> list[str]:
        """As in `Watched`."""
        if self._closed:
            return [f"The threads of {self._name} ended; the process has to be restarted."]
        now_s = time.monotonic()
        if any(now_s - since_s > self._stuck_after_s for since_s in list(self._busy_since_s.values())):
            return [f"A thread of {self._name} has been stuck for more than {self._stuck_after_s:.0f} s."]
        return []
