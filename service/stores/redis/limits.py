"""Rate limits that several gateways share: one script per call, by Redis' own clock."""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis

from service.stores.base import RateLimits
from service.stores.redis.breaker import Breaker
from service.stores.redis.connection import hang_up

PREFIX: Final = "quorum:limit:"

TAKE: Final = """
-- KEYS[1]: the time in microseconds at which the bucket will be full again. ARGV: amount, per minute.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local one = 60000000 / ARGV[2]
local full_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now))
local wait = full_at + one - 60000000 - now
if wait > 1 then
  return math.ceil(wait)
end
full_at = full_at + ARGV[1] * one
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.max(1, math.ceil((full_at - now) / 1000)))
return 0
"""
"""The algorithm of `service.stores.limits`. Numbers are doubles, which hold today's microseconds exactly to 0.25."""


class RedisRateLimits:
    """While Redis is away `alone`, the process's own buckets, judge: callers are limited per gateway then."""

    def __init__(self, client: Redis, breaker: Breaker, alone: RateLimits) -> None:
        self._take = client.register_script(TAKE)
        self._client = client
        self._breaker = breaker
        self._alone = alone

    async def take(self, bucket: str, amount: int, per_minute: int) -> float:
        wait_us = await self._breaker.ask(lambda: self._take([PREFIX + bucket], [amount, per_minute]))
        if wait_us is None:
            return await self._alone.take(bucket, amount, per_minute)
        return int(wait_us) / 1e6

    async def close(self) -> None:
        await self._breaker.close()
        await hang_up(self._client)
