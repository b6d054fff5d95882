"""Whether the server keeps what it acknowledged. It is the operator's; all that can be done here is to say so."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.stores.redis.connection import answering

log = logging.getLogger(__name__)

ASKED: Final = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
LIMIT_S: Final = 1.0


async def durability_warnings(client: Redis) -> tuple[str, ...] | None:
    """One sentence for each way in which state could be lost; None when the server does not tell.

    Raises `UnavailableError`.
    """
    async with answering("reading the configuration", limit_s=LIMIT_S):
        try:
            found = [await client.config_get(name) for name in ASKED]  # several in one call: since Redis 7
        except ResponseError:  # forbidden to this user, or switched off, as hosted servers do
            return None
    return tuple(_warnings({str(name): str(value) for each in found for name, value in each.items()}))


def _warnings(config: Mapping[str, str]) -> Iterator[str]:
    if config.get("appendonly") == "no":
        yield (
            "the state's Redis keeps no log of writes: what was acknowledged is lost when it ends. "
            "Set `appendonly yes` and `appendfsync always`."
        )
    elif (often := config.get("appendfsync")) in ("everysec", "no"):
        span = "second" if often == "everysec" else "half a minute"
        yield (
            f"the state's Redis may lose the last {span} of what was acknowledged when its machine fails. "
            "Set `appendfsync always`."
        )
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction" and config.get("maxmemory", "0") != "0":
        yield (
            f"the state's Redis evicts keys when its memory is full (maxmemory-policy {policy}): label sets, "
            "controllers and jobs could vanish. Set `maxmemory-policy noeviction`; caches belong on another server."
        )
