"""The Triton servers that the gateway knows: found by name, kept connected, and asked in turn.

Not gRPC's own round robin over one channel, for two reasons. A call does not say which of several servers answered it,
so no answer could be held against the check of that very server; and gRPC's health checking needs the `Watch` call of
grpc.health.v1, of which Triton has `Check` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from service.engines.triton.connection import Connection, ConnectionLostError
from service.engines.triton.errors import away, differs, not_loaded
from service.errors import QuorumError
from service.repository import ImageTower, TextTower

log = logging.getLogger(__name__)

RECONNECT_AFTER_S: Final = 0.5
RESOLVE_EVERY_S: Final = 5.0
START_POLL_S: Final = 0.05

_FORMS: Final = {socket.AF_INET: "ipv4:{}:{}", socket.AF_INET6: "ipv6:[{}]:{}"}

Towers = Mapping[str, ImageTower | TextTower]


class Server:
    """One address, and a checked connection to it whenever there is one."""

    def __init__(self, address: str, towers: Towers, changed: Callable[[], None]) -> None:
        self.address = address
        self.connection: Connection | None = None
        self._changed = changed
        self.task = asyncio.create_task(self._keep(towers), name=f"triton {address}")

    async def _keep(self, towers: Towers) -> None:
        said = ""
        while True:
            connection = Connection(self.address, towers)
            try:
                await connection.open()
                held = [name for name, verdict in connection.verdicts.items() if verdict.loaded]
                log.info("Triton at %s: connected, runs %d of %d towers", self.address, len(held), len(towers))
                self.connection, said = connection, ""
                self._changed()
                await connection.hold()
            except ConnectionLostError as error:
                if str(error) != said:  # not twice a second for as long as it is away
                    log.warning("Triton at %s: %s", self.address, error)
                said = str(error)
            finally:
                self.connection = None
                self._changed()
                await connection.close()
            await asyncio.sleep(RECONNECT_AFTER_S)


class Servers:
    """`urls` are HOST:PORT; a name that stands for several addresses stands for as many servers. `changed` is told how
    many of them are connected and how many there should be: a name that stands for nobody misses one."""

    def __init__(self, urls: Sequence[str], towers: Towers, changed: Callable[[int, int], None]) -> None:
        self._urls = urls
        self._towers = towers
        self._changed = changed
        self._servers: dict[str, Server] = {}
        self._finding: list[asyncio.Task[None]] = []
        self._unresolved = set(urls)
        self._nobody: set[str] = set()
        self._turn = 0

    async def start(self, wait_s: float) -> None:
        """Returns as soon as every tower can be asked, or every server was reached; after `wait_s` anyway."""
        self._finding = [asyncio.create_task(self._find(url), name=f"find {url}") for url in self._urls]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._settled():
                    await asyncio.sleep(START_POLL_S)

    def _settled(self) -> bool:
        return not self.without() or self.all_reached()

    def all_reached(self) -> bool:
        """Nobody is left who might yet have what is missed: every name stands for servers, and each is connected."""
        return not self._unresolved and all(server.connection for server in self._servers.values())

    def without(self) -> list[str]:
        """Towers that nobody can be asked for now."""
        return [tower for tower in self._towers if self.pick(tower, ()) is None]

    def pick(self, tower: str, without: Collection[Connection]) -> Connection | None:
        """The one with the least on its way of those that serve `tower` as it should be, in turn when equal."""
        fit = [
            server.connection
            for server in self._servers.values()
            if server.connection is not None and not server.connection.lost and server.connection not in without
        ]
        fit = [connection for connection in fit if connection.verdicts[tower].good]
        if not fit:
            return None
        self._turn += 1
        start = self._turn % len(fit)
        return min(fit[start:] + fit[:start], key=lambda connection: connection.rows)

    def why_not(self, tower: str) -> QuorumError:
        """Why nobody can be picked."""
        verdicts = [connection.verdicts[tower] for connection in self._connections()]
        if any(verdict.difference for verdict in verdicts):
            return differs(tower)
        return not_loaded(tower) if verdicts else away(tower)

    def differences(self) -> list[str]:
        """Of towers that are served wrong and nowhere right."""
        found = []
        for tower in self._towers:
            wrong = [each.verdicts[tower].difference for each in self._connections()]
            if self.pick(tower, ()) is None:
                found += [each for each in wrong if each is not None][:1]
        return found

    def missing(self) -> list[str]:
        """Towers that servers were asked for and none has."""
        verdicts = {tower: [each.verdicts[tower] for each in self._connections()] for tower in self._towers}
        return [tower for tower, each in verdicts.items() if each and not any(verdict.loaded for verdict in each)]

    def broken(self) -> list[str]:
        """Tasks that ended, which none of them ever should."""
        tasks = [*self._finding, *(server.task for server in self._servers.values())]
        return [task.get_name() for task in tasks if task.done()]

    async def close(self) -> None:
        tasks = [*self._finding, *(server.task for server in self._servers.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._servers.clear()

    def _connections(self) -> list[Connection]:
        return [server.connection for server in self._servers.values() if server.connection is not None]

    async def _find(self, url: str) -> None:
        """Follow a name: servers come and go behind it."""
        host, _, port = url.rpartition(":")
        mine: set[str] = set()
        while True:
            try:
                addresses = await _resolve(host.strip("[]"), int(port))
            except OSError as error:
                self._unresolved.add(url)
                if not mine:
                    self._nobody.add(url)
                self._tell()
                log.warning("%s: the name cannot be resolved: %s", url, error)
            else:
                self._nobody.discard(url)
                await self._follow(mine, addresses)
                mine = addresses
                self._unresolved.discard(url)
            await asyncio.sleep(RESOLVE_EVERY_S)

    async def _follow(self, before: set[str], now: set[str]) -> None:
        for address in now - self._servers.keys():
            self._servers[address] = Server(address, self._towers, self._tell)
        gone = [self._servers.pop(address) for address in before - now if address in self._servers]
        for server in gone:
            log.info("Triton at %s: its name does not stand for it any more", server.address)
            server.task.cancel()
        await asyncio.gather(*[server.task for server in gone], return_exceptions=True)
        self._tell()

    def _tell(self) -> None:
        self._changed(len(self._connections()), len(self._servers) + len(self._nobody))


async def _resolve(host: str, port: int) -> set[str]:
    """gRPC's form of every address; those of IPv4 where there are any, since `localhost` names one server twice."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family = {family: {str(address[0]) for f, *_, address in found if f is family} for family in _FORMS}
    family = next(family for family in _FORMS if by_family[family] or family is socket.AF_INET6)
    return {_FORMS[family].format(address, port) for address in by_family[family]}
