"""One connection to one Triton server, and which towers were found right over it.

A connection that broke is lost for good, even if gRPC could mend it: who answers afterwards may be another server with
other weights, so it is met by a new connection and checked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from service.deadline import Deadline
from service.engines.triton.checks import VERSION, Verdict, difference
from service.engines.triton.errors import error_of
from service.repository import ImageTower, TextTower
from service.trail import current_span

log = logging.getLogger(__name__)

CONNECT_LIMIT_S: Final = 5.0
PROBE_EVERY_S: Final = 1.0
SILENT_AFTER_S: Final = 4.0
"""A server that does not say for so long that it lives is taken for dead, and whoever waits for it is told."""
CHECK_EVERY_S: Final = 5.0
"""Within a connection: models can be reloaded while a server runs."""

CHANNEL_OPTIONS: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A new connection has to be a new one, not another handle on the one that was given up.
    ("grpc.use_local_subchannel_pool", 1),
    # An answer that came over another connection than the call went out on could not be trusted.
    ("grpc.enable_retries", 0),
]


class ConnectionLostError(Exception):
    """Of the keeper of a connection alone; callers get a `QuorumError`."""


class Connection:
    def __init__(self, address: str, towers: Mapping[str, ImageTower | TextTower]) -> None:
        self.address = address
        self.rows = 0
        """On their way over this connection."""
        self.lost = False
        self.verdicts: dict[str, Verdict] = {}
        self._towers = towers
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._doubted = False
        self._had: set[str] = set()
        """Towers that were loaded at some time: of a pool of servers each runs its own alone."""
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and check every tower. Raises `ConnectionLostError`."""
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise ConnectionLostError("it cannot be reached") from error
        self._watching = asyncio.create_task(self._watch_state())
        await self._check()

    async def hold(self) -> None:
        """Ask the server how it is until the connection is lost, which is raised as `ConnectionLostError`."""
        assert self._watching is not None  # by `open`
        probing = asyncio.create_task(self._probe())
        try:
            await asyncio.wait([self._watching, probing], return_when=asyncio.FIRST_COMPLETED)
            if probing.done():
                probing.result()
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        raise ConnectionLostError("it closed the connection")

    async def infer(self, tower: str, request: pb.ModelInferRequest, deadline: Deadline) -> pb.ModelInferResponse:
        """Raises a `QuorumError`; a caller that is cancelled cancels the call on the server as well."""
        traceparent = current_span().traceparent  # Triton's own spans, where it makes some, are children of ours
        metadata = None if traceparent is None else (("traceparent", traceparent),)
        try:
            response = await self._stub.ModelInfer(request, timeout=deadline.remaining_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            # The server may have unloaded or replaced the model, which is found out at once.
            self._doubted = self._doubted or error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)
            log.info("Triton at %s: %s on a batch of %s: %s", self.address, error.code().name, tower, error.details())
            raise error_of(error.code(), tower) from error
        except grpc.aio.UsageError as error:  # the channel was closed between choosing and calling it
            raise error_of(grpc.StatusCode.UNAVAILABLE, tower) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC's way to say that the channel was closed under the call; nobody cancelled this caller.
            raise error_of(grpc.StatusCode.UNAVAILABLE, tower) from None
        if self.lost:
            raise error_of(grpc.StatusCode.UNAVAILABLE, tower)
        return response

    async def close(self) -> None:
        """Whoever waits for an answer is failed."""
        self.lost = True
        if self._watching is not None:
            self._watching.cancel()
        await self._channel.close()

    async def _watch_state(self) -> None:
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        # Here and not one step later: an answer over gRPC's next connection must find it set.
        self.lost = True

    async def _probe(self) -> None:
        checked_at_s = time.monotonic()
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            await self._ask_whether_it_lives()
            good = all(self.verdicts[tower].good for tower in self._had)
            if self._doubted or not good or time.monotonic() - checked_at_s > CHECK_EVERY_S:
                self._doubted = False
                await self._check()
                checked_at_s = time.monotonic()

    async def _check(self) -> None:
        found = await asyncio.gather(*[self._verdict(tower) for tower in self._towers.values()])
        if not all(verdict.loaded for verdict in found):
            await self._ask_whether_it_lives()  # "not loaded" is also what a connection that broke says
        if self.lost:
            raise ConnectionLostError("it closed the connection")
        for name, verdict in zip(self._towers, found, strict=True):
            expected = verdict.loaded or name in self._had  # what was never here may be another server's
            if expected and not verdict.good and verdict != self.verdicts.get(name):
                log.error("Triton at %s: %s", self.address, verdict.difference or f"{name} is not loaded any more")
            self.verdicts[name] = verdict
        self._had |= {name for name, verdict in self.verdicts.items() if verdict.loaded}

    async def _ask_whether_it_lives(self) -> None:
        try:
            await self._stub.ServerLive(pb.ServerLiveRequest(), timeout=SILENT_AFTER_S)
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from error

    async def _verdict(self, tower: ImageTower | TextTower) -> Verdict:
        request = pb.ModelConfigRequest(name=tower.name, version=VERSION)
        try:
            answer = await self._stub.ModelConfig(request, timeout=SILENT_AFTER_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                return Verdict(loaded=False)
            raise _lost(error) from error
        return Verdict(loaded=True, difference=difference(tower, answer.config, self.address))


def _lost(error: grpc.aio.AioRpcError) -> ConnectionLostError:
    return ConnectionLostError(f"it answers {error.code().name} when asked how it is")
