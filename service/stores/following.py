"""What is known beside a store that others change too: trusted while every change is heard of, kept for bad times."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from cachetools import LRUCache

from service.errors import UnavailableError

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Reading:
    """On its way, the `number`th to begin. `fresh`: no change was heard of since then, and would have been."""

    name: str
    number: int
    fresh: bool


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    number: int
    fresh: bool


class Followed(Generic[T]):
    """Values by name. `ask(name, in_hurry)` reads one from the store, not for long when something is known to fall back
    on; `hears` says whether changes made by others are heard of now.

    A value is given without asking while changes are heard of and none was since it was read. Otherwise the store is
    asked, and where it is away (`UnavailableError`) the value known last is given. What `ask` gives as None is not
    kept: of what is not known nobody can say, while the store is away, that it does not exist.
    """

    def __init__(self, ask: Callable[[str, bool], Awaitable[T]], hears: Callable[[], bool], *, kept: int) -> None:
        self._ask = ask
        self._hears = hears
        self._entries: LRUCache[str, _Entry[T]] = LRUCache(kept)
        self._readings: set[_Reading] = set()
        self._numbers = count()

    async def get(self, name: str) -> T:
        """Raises `UnavailableError` when the store is away and nothing is known."""
        entry = self._entries.get(name)
        if entry is not None and entry.fresh and self._hears():
            return entry.value
        try:
            return await self._read(name)
        except UnavailableError:
            entry = self._entries.get(name)
            if entry is None:
                raise
            return entry.value

    def stale(self, name: str | None) -> None:
        """It may have changed; None: everything may have."""
        for reading in self._readings:
            if name in (None, reading.name):
                reading.fresh = False
        for each in list(self._entries) if name is None else [name]:
            entry = self._entries.get(each)
            if entry is not None:
                entry.fresh = False

    def learn(self, name: str, value: T) -> None:
        """What this process has just written; others may have written since."""
        self._entries[name] = _Entry(value, next(self._numbers), fresh=False)

    def forget(self, name: str) -> None:
        self.stale(name)
        self._entries.pop(name, None)

    @contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Around a write of this process: whatever comes of it, the next reader asks."""
        try:
            yield
        finally:
            self.stale(name)

    async def _read(self, name: str) -> T:
        reading = _Reading(name, next(self._numbers), fresh=self._hears())
        self._readings.add(reading)
        try:
            value = await self._ask(name, name in self._entries)
        finally:
            self._readings.discard(reading)
        self._keep(reading, value)
        return value

    def _keep(self, reading: _Reading, value: T) -> None:
        known = self._entries.get(reading.name)
        if known is not None and known.number > reading.number:
            return  # a slow reading of what was
        if value is None:
            self._entries.pop(reading.name, None)
        else:
            self._entries[reading.name] = _Entry(value, reading.number, reading.fresh)
