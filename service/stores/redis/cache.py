"""Embeddings in Redis, for several gateways. Without it everything is slower and nothing else: a server that is away or
slow is a miss, and nobody waits for what is written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from service.liveness import ended
from service.stores.redis.advice import CacheAdvice
from service.stores.redis.breaker import Breaker
from service.stores.redis.connection import describe, hang_up

log = logging.getLogger(__name__)

PREFIX: Final = "quorum:embedding:1:"
"""With the version of the values' form."""
COUNT_BYTES: Final = 4
FLOATS: Final = np.dtype("<f4")
QUEUE_BYTES: Final = 16 << 20
"""Of values that wait to be written; what comes beyond is dropped."""
OVERHEAD_BYTES: Final = 200
AT_ONCE: Final = 256
"""Entries in one call of Redis: the prompts of a large label set (20 MB) take longer than a call may."""
READ_LIMIT_S: Final = 0.5
"""After which the rest of a look-up is taken for misses."""
CLOSE_LIMIT_S: Final = 0.5


class CacheObserver(Protocol):
    def shared_cache_dropped(self, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    value: bytes

    @property
    def size(self) -> int:
        return len(self.value) + len(self.name) + OVERHEAD_BYTES


class RedisEmbeddingCache:
    """A value is the number of its floats and then those, little-endian. Used from the event loop alone."""

    def __init__(
        self, client: Redis, breaker: Breaker, observer: CacheObserver, *, ttl_s: float, advice: CacheAdvice | None
    ) -> None:
        self._client = client
        self._breaker = breaker
        self._observer = observer
        self._ttl_ms = max(1, round(ttl_s * 1e3))
        self._advice = advice
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._something = asyncio.Event()
        self._nothing = asyncio.Event()
        self._nothing.set()
        self._writer: asyncio.Task[None] | None = None
        self._refused = False

    async def start(self) -> None:
        """Never fails and never waits: whether Redis is there shows at the first look-up."""
        self._writer = asyncio.create_task(self._write(), name="embedding cache")
        self._writer.add_done_callback(_ended)

    def problems(self) -> list[str]:
        return ended(self._writer)

    async def get_many(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = {}
        until_s = time.monotonic() + READ_LIMIT_S
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            values = await self._read(some)
            if values is None:
                break
            unpacked = {
                key: _unpack(value) for key, value in zip(some, values, strict=True) if isinstance(value, bytes)
            }
            found |= {key: embedding for key, embedding in unpacked.items() if embedding is not None}
            if time.monotonic() > until_s:
                break
        return found

    async def put_many(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        """Returns at once. What does not fit into the queue, or comes while Redis is left alone, is dropped."""
        dropped = 0
        for key, embedding in embeddings.items():
            entry = _Entry(PREFIX + key, _pack(embedding))
            if self._breaker.is_open or self._waiting_bytes + entry.size > QUEUE_BYTES:
                dropped += 1
                continue
            self._waiting.append(entry)
            self._waiting_bytes += entry.size
        if dropped:
            self._observer.shared_cache_dropped(dropped)
        if self._waiting:
            self._nothing.clear()
            self._something.set()

    async def written(self) -> None:
        """Once nothing waits to be written any more."""
        await self._nothing.wait()

    async def close(self) -> None:
        """What is written within a moment is, the rest is lost."""
        if self._writer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_LIMIT_S):
                    await self.written()
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await self._breaker.close()
        await hang_up(self._client)

    async def _read(self, keys: Sequence[str]) -> Sequence[bytes | str | None] | None:
        names = [PREFIX + key for key in keys]
        return await self._breaker.ask(lambda: self._client.mget(names))

    async def _write(self) -> None:
        if self._advice is not None:
            await self._advice.give(self._client, self._breaker)
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                await self._write_some()
            self._nothing.set()

    async def _write_some(self) -> None:
        entries = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        self._waiting_bytes -= sum(entry.size for entry in entries)
        answers = await self._breaker.ask(lambda: self._send(entries))
        if answers is None:
            self._observer.shared_cache_dropped(len(entries))
            return
        refusals = [each for each in answers if isinstance(each, Exception)]
        if refusals:
            self._observer.shared_cache_dropped(len(refusals))
            if not self._refused:  # once: the metric tells the rest
                log.warning("the cache's Redis server refuses what is written to it: %s", describe(refusals[0]))
            self._refused = True

    async def _send(self, entries: Sequence[_Entry]) -> list[object]:
        """An answer for each; a refusal, as of a full server, is an exception in it. Such a server is not away."""
        # Not a transaction: each entry is right by itself.
        pipeline = self._client.pipeline(transaction=False)
        for entry in entries:
            pipeline.set(entry.name, entry.value, px=self._ttl_ms)
        return await pipeline.execute(raise_on_error=False)


def _ended(writer: asyncio.Task[None]) -> None:
    if not writer.cancelled() and (error := writer.exception()) is not None:
        log.error("embeddings are not written to Redis any more", exc_info=error)


def _pack(embedding: NDArray[np.float32]) -> bytes:
    return embedding.size.to_bytes(COUNT_BYTES, "little") + embedding.astype(FLOATS, copy=False).tobytes()


def _unpack(value: bytes) -> NDArray[np.float32] | None:
    """`float32[d]`; None when its length is not the one that it says."""
    count = int.from_bytes(value[:COUNT_BYTES], "little")
    if count == 0 or len(value) != COUNT_BYTES + count * FLOATS.itemsize:
        return None
    return np.frombuffer(value, FLOATS, offset=COUNT_BYTES).astype(np.float32)
