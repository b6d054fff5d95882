"""Clients of a Redis server: every wait has an end, nothing is sent twice, and what goes wrong is one kind of error."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from service.errors import ConfigurationError, UnavailableError

log = logging.getLogger(__name__)

SCHEMES: Final = ("redis", "rediss", "unix")
OPTIONS: Final = {
    "db",
    "password",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "username",
}
"""What may follow `?` in an address. Timeouts and retries are not among it: they are promises of this program."""

KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""The client's own options, which giving others replaces; in seconds, but for the count."""

RETRY_AFTER_S: Final = 1.0
CLIENT_NAME: Final = "quorum"


@dataclass(frozen=True, slots=True)
class Limits:
    """`connect_s`: to open a connection. `call_s`: for one write and for one read of the socket, and to wait for a free
    connection. `connections`: most of them at once."""

    connect_s: float = 1.0
    call_s: float = 2.0
    connections: int = 32


class NotConnectedError(RedisConnectionError):
    """There was no connection to send anything on; its cause says why."""


class Pool(BlockingConnectionPool):
    """Tells apart what was never sent from what was sent and not answered."""

    async def get_connection(self, *arguments: Any, **named: Any) -> Any:
        try:
            return await super().get_connection(*arguments, **named)  # type: ignore[no-untyped-call]  # theirs
        except (RedisError, OSError) as error:
            raise NotConnectedError(describe(error)) from error


def is_redis(url: str) -> bool:
    """Whether this names a Redis server (and not a file)."""
    return url.partition("://")[0].lower() in SCHEMES


def connect(url: str, *, variable: str, limits: Limits = Limits()) -> Redis:
    """A client with a pool of its own, not yet connected; values are bytes. To be ended by `aclose()`.

    Raises `ConfigurationError`, which names `variable` and shows nothing of the address: a password may be in it.
    """
    _check(url, variable)
    pool = Pool.from_url(
        url,
        max_connections=limits.connections,
        timeout=limits.call_s,
        socket_connect_timeout=limits.connect_s,
        socket_timeout=limits.call_s,
        **_tcp_options(url, limits),
        # A command that was sent and not answered may have been carried out. Whoever sends it decides.
        retry=Retry(NoBackoff(), 0),
        # RESP3 brings a hosted service's maintenance messages, and nothing that is used here.
        protocol=2,
        client_name=CLIENT_NAME,
    )
    return Redis.from_pool(pool)


async def hang_up(client: Redis) -> None:
    """End a client, also one whose server takes no leave: one that hangs does not take what is still to be sent."""
    with suppress(RedisError, OSError):
        await client.aclose()


@asynccontextmanager
async def answering(doing: str, *, limit_s: float) -> AsyncIterator[None]:
    """Around calls of a client: whatever fails in it, or takes longer than `limit_s` in all, is `UnavailableError`.

    Where a write was sent, its outcome is then not known.
    """
    try:
        async with asyncio.timeout(limit_s):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        log.debug("Redis failed while %s: %s", doing, describe(error))
        raise unavailable() from error


def unavailable() -> UnavailableError:
    return UnavailableError("The server's state cannot be read or written now. Try again.", retry_after_s=RETRY_AFTER_S)


def describe(error: BaseException) -> str:
    """For logs: the kind and the words of an error. The client's errors name hosts and ports, and no password."""
    # A server that knows no AUTH, for one, repeats what it was given.
    words = str(error).partition(", with args beginning with")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _tcp_options(url: str, limits: Limits) -> dict[str, Any]:
    """So that what was given up is not carried out long afterwards, over what was written since: the kernel goes on for
    minutes to deliver what was sent on a connection that is closed already, when the network has come back."""
    if urlsplit(url).scheme == "unix":
        return {}
    found = KEEPALIVE | {"TCP_USER_TIMEOUT": round(limits.call_s * 1e3)}
    options = {getattr(socket, name): value for name, value in found.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": options}


def _check(url: str, variable: str) -> None:
    try:
        parts = urlsplit(url)
        wrong = _wrong(parts)
    except ValueError:
        wrong = "its port is not a number up to 65535, or a bracket is missing"
    if wrong:
        raise ConfigurationError(
            f"{variable} is no address of a Redis server: {wrong}. It looks like redis://HOST:6379/0, with a password "
            "redis://:PASSWORD@HOST:6379/0 (special characters as %XX), with TLS rediss://…, on a socket unix:///PATH."
        )


def _wrong(parts: SplitResult) -> str | None:
    """Of what the client itself would pass over in silence. Raises `ValueError` with a wrong port."""
    if parts.scheme not in SCHEMES:
        return "it begins with none of redis://, rediss:// and unix://"
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if set(names) - OPTIONS:  # not named: a password with a ? in it looks like an option too
        return f"after its ? may stand {', '.join(sorted(OPTIONS))} alone"
    if parts.fragment:
        return "it holds a #"
    if parts.scheme == "unix":
        return None if parts.path else "it names no socket"
    if not parts.hostname or parts.port == 0:
        return "it names no host, or port 0"
    database = parts.path.strip("/")
    return None if not database or database.isdecimal() else "after the host comes the number of a database"
