"""The three stores on one Redis server, for several gateways."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from service.deadline import Deadline
from service.errors import ConfigurationError, UnavailableError
from service.liveness import ended
from service.policies import ArtefactKind
from service.stores.base import ArtefactVersion, Retention, StoredLabelSet
from service.stores.following import Followed
from service.stores.redis.artefacts import RedisArtefacts
from service.stores.redis.connection import NotConnectedError, answering, connect, describe, hang_up
from service.stores.redis.durability import durability_warnings
from service.stores.redis.jobs import RedisJobs
from service.stores.redis.label_sets import KINDS, RedisLabelSets
from service.stores.redis.link import HURRY_S, LIMIT_S, LIMITS, SILENT_S, Link, StateObserver
from service.stores.redis.presence import DEFAULT_TIMING, Pulse, Timing
from service.stores.redis.rows import read_label_set, read_version
from service.stores.redis.scripts import ACTIVE_ARTEFACTS, CHANGES, GET_LABEL_SET
from service.stores.redis.subscription import Subscription

log = logging.getLogger(__name__)

VARIABLE: Final = "QUORUM_STATE_URL"
KEPT: Final = 1_024
"""Label sets that are known in memory. One is some kilobytes, or a megabyte with ten thousand prompts."""

RIGHTS: Final = "~quorum:* &quorum:* +@all -@dangerous +client|setname"
"""That a user of the server needs, in the words of its ACL."""

START_WAIT_S: Final = 5.0
END_S: Final = 0.2


class RedisState:
    """Comes up without the server too, knows nothing then, and finds it when it is there."""

    def __init__(
        self, url: str, retention: Retention, observer: StateObserver, timing: Timing = DEFAULT_TIMING
    ) -> None:
        """Raises `ConfigurationError` for what is no address."""
        self._client: Redis = connect(url, variable=VARIABLE, limits=LIMITS)
        self._link = Link(self._client, observer)
        self._subscription = Subscription(self._client, self._changed)
        self._pulse = Pulse(self._link, timing, lost=self._lost, returned=self._look_at_durability)
        self._known_sets = Followed(self._ask_label_set, self._subscription.hears, kept=KEPT)
        self._known_active = Followed(self._ask_active, self._subscription.hears, kept=KEPT)
        self._warned: tuple[str, ...] | None = ()
        self._tasks: list[asyncio.Task[None]] = []
        self.label_sets = RedisLabelSets(self._link, self._known_sets)
        self.artefacts = RedisArtefacts(self._link, retention, self._known_active)
        self.jobs = RedisJobs(self._link, retention, self._pulse, self._known_active)

    async def start(self) -> None:
        """Waits a little for a server that is not there yet.

        Raises `ConfigurationError` when there is one that does not let this user in.
        """
        try:
            await self._first_beat()
        except BaseException:
            await hang_up(self._client)
            raise
        self._tasks = [
            asyncio.create_task(self._pulse.run(), name="beat"),
            asyncio.create_task(self._subscription.run(), name="follow changes"),
        ]

    def problems(self) -> list[str]:
        return ended(*self._tasks)

    async def close(self) -> None:
        if self._tasks:
            await _end(self._tasks)
            self._tasks = []
            await self._pulse.leave()
        await hang_up(self._client)

    async def _first_beat(self) -> None:
        deadline = Deadline.after(START_WAIT_S)
        while True:
            try:
                await self._pulse.beat()
                await self._may_publish()
            except UnavailableError as error:
                _check_refusal(error)
                if deadline.passed:
                    log.warning("started without the state: label sets are unknown until its Redis answers")
                    return
            else:
                return
            await asyncio.sleep(self._pulse.timing.beat_s)

    async def _may_publish(self) -> None:
        """A user of Redis may have all keys and commands, and no channel: that is the default of Redis 7."""
        async with answering("publishing", limit_s=HURRY_S):
            await self._client.publish(CHANGES, "")

    def _lost(self) -> None:
        self._changed(None)
        self._subscription.renew()

    def _changed(self, name: str | None) -> None:
        self._known_sets.stale(name)
        self._known_active.stale(name)

    async def _look_at_durability(self) -> None:
        """Each finding is said once, and again after it was mended."""
        try:
            warnings = await durability_warnings(self._client)
        except UnavailableError:
            return  # it has just answered and is away again: next time
        if warnings is None and self._warned is not None:
            log.info(
                "whether the state's Redis loses or evicts data cannot be checked: it does not let CONFIG GET pass"
            )
        for warning in set(warnings or ()) - set(self._warned or ()):
            log.warning(warning)
        self._warned = warnings

    def _limit_s(self, in_hurry: bool) -> float:
        if not in_hurry:
            return LIMIT_S
        return HURRY_S if self._subscription.hears() else SILENT_S

    async def _ask_label_set(self, name: str, in_hurry: bool) -> StoredLabelSet | None:
        return read_label_set(name, await self._link.read(GET_LABEL_SET, name, limit_s=self._limit_s(in_hurry)))

    async def _ask_active(self, label_set: str, in_hurry: bool) -> Mapping[ArtefactKind, ArtefactVersion]:
        rows = await self._link.read(ACTIVE_ARTEFACTS, label_set, *KINDS, limit_s=self._limit_s(in_hurry))
        found = [(kind, row) for name, row in rows for kind in KINDS if kind == name.decode()]
        return {kind: read_version(label_set, kind, row) for kind, row in found}


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until they are done: `asyncio.wait_for`, with which the client sends, swallows a cancellation that comes
    just when it has sent (up to Python 3.11)."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=END_S)


def _check_refusal(error: UnavailableError) -> None:
    """Raises `ConfigurationError` when the server does not let this user in, or not do what is needed.

    Other refusals pass: no memory left, a failed save, a replica that is about to become the one that takes writes.
    """
    cause = error.__cause__
    refused = isinstance(cause, NoPermissionError) or "unknown command" in str(cause)
    if isinstance(cause, NotConnectedError):
        cause = cause.__cause__
        refused = isinstance(cause, AuthenticationError | ResponseError)
    if cause is not None and refused:
        raise ConfigurationError(
            f"{VARIABLE}: the server refuses: {describe(cause)}. It takes the right password, and the rights {RIGHTS}."
        ) from error
