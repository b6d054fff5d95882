"""The way to Milvus: connected when it is first needed, by one caller for all, and never in the event loop's time."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from service.errors import ConfigurationError, UnavailableError
from service.galleries.milvus.failures import RETRY_AFTER_S, translated
from service.galleries.milvus.folder import FolderInUseError, LiteFolder

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 30.0
BRIEFLY: Final[dict[str, Any]] = {"retry_times": 4}
"""For every call: where it finds no server, pymilvus tries again for half a second, and not until the deadline."""
SETTING: Final = "QUORUM_GALLERIES_URL"
IN_USE: Final = (
    "another process has {path}, and Milvus Lite serves one. Stop the other one; or send commands to it by "
    "QUORUM_CLIENT_URL; or set QUORUM_GALLERIES_URL to a Milvus server."
)


class Connection:
    """`folder` is Lite's; None with a server."""

    def __init__(self, url: str, token: str | None) -> None:
        self.folder = None if "://" in url else LiteFolder(Path(url))
        self._url = url
        self._token = token
        self._client: Any = None
        self._address = url
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """See that it can work, as far as that costs nothing. Raises `ConfigurationError`."""
        if self.folder is None:
            if not self._url.startswith(("http://", "https://")):
                raise ConfigurationError(f"{SETTING}: {self._url} is no URL of a Milvus server (http://host:19530).")
            return
        if self.folder.path.suffix != ".db":
            raise ConfigurationError(f"{SETTING}: {self._url} does not end in .db, as a folder of Milvus Lite must.")
        if self._token:
            raise ConfigurationError(f"QUORUM_GALLERIES_TOKEN is for a Milvus server, {SETTING} is a folder.")
        if importlib.util.find_spec("milvus_lite") is None:
            raise ConfigurationError(
                f"{SETTING}: galleries in a folder need Milvus Lite: pip install 'quorum-serve[lite]'; or name the "
                "URL of a Milvus server."
            )
        try:
            await asyncio.to_thread(self.folder.claim)
        except FolderInUseError as error:
            raise ConfigurationError(f"{SETTING}: {IN_USE.format(path=self.folder.path)}") from error
        except OSError as error:
            raise ConfigurationError(f"{SETTING}: {self.folder.path} cannot be used: {error.strerror}.") from error

    async def call(self, doing: str, rpc: Callable[[Any], Awaitable[T]]) -> T:
        """What `rpc` of the asynchronous client gives. Raises our errors alone."""
        with translated(doing):
            return await rpc(await self._connected())

    async def call_blocking(self, doing: str, work: Callable[[Any], T]) -> T:
        """The same with a blocking client of its own, in a thread: for what the asynchronous one cannot do."""

        def run() -> T:
            from pymilvus import MilvusClient

            client = MilvusClient(self._address, token=self._token or "", timeout=CONNECT_TIMEOUT_S, dedicated=True)
            try:
                return work(client)
            finally:
                client.close()

        with translated(doing):
            await self._connected()
            return await asyncio.to_thread(run)

    async def close(self) -> None:
        self._closed = True
        if self._opening is not None:
            await asyncio.wait([self._opening])
        client, self._client = self._client, None
        if client is None:
            return
        await client.close()
        if self.folder is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await asyncio.to_thread(_stop_lite, self.folder)
            except TimeoutError:
                log.warning("%s is still being closed, and is left to it", self.folder.path)

    async def _connected(self) -> Any:
        """The client, opened by a task of its own: on a busy machine that takes longer than a caller has time, and
        the next one finds it done, or further."""
        if self._closed:
            raise UnavailableError("The server is shutting down.", retry_after_s=RETRY_AFTER_S)
        if self._client is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open(), name="open Milvus")
                self._opening.add_done_callback(_seen)
            await asyncio.shield(self._opening)
        return self._client

    async def _open(self) -> None:
        try:
            self._client, self._address = await asyncio.to_thread(self._connect)
        except FolderInUseError as error:
            path = self.folder.path if self.folder else self._url
            raise UnavailableError(
                f"The galleries cannot be opened: {IN_USE.format(path=path)}", retry_after_s=RETRY_AFTER_S
            ) from error
        finally:
            self._opening = None

    def _connect(self) -> tuple[Any, str]:
        """The client and the address that it talks to. Imports pymilvus, which takes a second."""
        from pymilvus import AsyncMilvusClient

        _quieten()
        options: dict[str, Any] = {}
        address = self._url
        if self.folder is not None:
            address = _start_lite(self.folder)
            options["grpc_options"] = {"grpc.enable_http_proxy": 0}  # it is in this process
        client = AsyncMilvusClient(
            address, token=self._token or "", timeout=CONNECT_TIMEOUT_S, dedicated=True, **options
        )
        return client, address


def _seen(task: asyncio.Task[None]) -> None:
    """Whoever still waits has the error; asyncio need not complain that nobody asked for it."""
    if not task.cancelled():
        task.exception()


def _start_lite(folder: LiteFolder) -> str:
    """Where it listens. Raises `FolderInUseError`."""
    from milvus_lite.server_manager import server_manager_instance

    folder.path.parent.mkdir(parents=True, exist_ok=True)
    folder.repair()
    address = server_manager_instance.start_and_get_uri(str(folder.path))
    if address is None:
        raise FolderInUseError
    return str(address)


def _stop_lite(folder: LiteFolder) -> None:
    """What is in memory is flushed first."""
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(str(folder.path))


def _quieten() -> None:
    """Errors are raised, and logged where they are unexpected; the libraries print each with a traceback before."""
    for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # its own, to standard error
        logger.propagate = True
        logger.setLevel(logging.CRITICAL)
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # which processors it tried
    # A log that ends in the middle of a write is what a killed process leaves; nothing in it was acknowledged.
    logging.getLogger("milvus_lite").setLevel(logging.ERROR)
