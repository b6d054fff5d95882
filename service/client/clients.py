"""The two clients. They differ in how they wait, send and read files, and in nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar, Unpack

import httpx2

from service.api.schemas import BackboneOut, ClassifyResponse, CommitteeOut, InfoOut, LabelSetOut, ModelList
from service.client import calls
from service.client.attempts import DEFAULT_RETRY, DEFAULT_TIMEOUT, NO_RETRY, Attempts, Retry
from service.client.calls import PAGE_SIZE, Call, ClassifyOptions
from service.client.errors import ApiError, ClientError

DEFAULT_URL: Final = "http://127.0.0.1:8000"

T = TypeVar("T")
ImageSource = Path | bytes
Labels = Sequence[str] | Mapping[str, Sequence[str]]


class QuorumClient:
    """Calls block. Safe to share between threads. Close it, or use it as a context manager.

    `timeout` bounds each wait of an attempt, `retry` the attempts. Raises `ValueError` for a `base_url` that is none.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: httpx2.Timeout = DEFAULT_TIMEOUT,
        retry: Retry = DEFAULT_RETRY,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx2.Client(
            base_url=checked_url(base_url), headers=_headers(api_key), timeout=timeout, transport=transport
        )
        self._retry = retry
        self._sleep = sleep
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def classify(self, images: Sequence[ImageSource], **options: Unpack[ClassifyOptions]) -> ClassifyResponse:
        """Zero-shot. A broken image among several is an `ItemError` in `results`, alone it is an `ApiError`."""
        return self._ask(calls.classify([_content(image) for image in images], options))

    def put_label_set(self, name: str, labels: Labels, templates: Sequence[str] | None = None) -> LabelSetOut:
        """Create or replace; `labels` may map each class to its phrasings."""
        return self._ask(calls.put_label_set(name, labels, templates))

    def get_label_set(self, name: str) -> LabelSetOut:
        return self._ask(calls.get_label_set(name))

    def delete_label_set(self, name: str) -> None:
        self._ask(calls.delete_label_set(name))

    def list_label_sets(self, *, page_size: int = PAGE_SIZE) -> Iterator[LabelSetOut]:
        """All of them, in order of name; pages are fetched as they are needed."""
        call: Call[Any] | None = calls.list_label_sets(page_size)
        while call is not None:
            page = self._ask(call)
            yield from page.data
            call = calls.page_after(page, page_size)

    def models(self) -> ModelList:
        """Every backbone, cheapest first, and the committee."""
        return self._ask(calls.models())

    def model(self, model_id: str) -> BackboneOut | CommitteeOut:
        return self._ask(calls.model(model_id))

    def info(self) -> InfoOut:
        return self._ask(calls.info())

    def healthy(self) -> bool:
        """Whether a server answers and says that it is well. Asks once and raises nothing."""
        try:
            calls.health().parse(self.send(calls.health(), retry=NO_RETRY))
        except ClientError:
            return False
        return True

    def send(self, call: Call[Any], *, retry: Retry | None = None) -> httpx2.Response:
        """The answer to any call as it came. Raises `ApiError` or `ConnectionFailedError`."""
        attempts = Attempts(call, retry or self._retry, self._http.timeout, self._clock)
        while True:
            try:
                return attempts.check(self._http.send(attempts.request(self._http)))
            except (httpx2.RequestError, ApiError) as error:
                self._sleep(attempts.wait_s(error))

    def _ask(self, call: Call[T]) -> T:
        return call.parse(self.send(call))


class AsyncQuorumClient:
    """`QuorumClient` for an event loop."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: httpx2.Timeout = DEFAULT_TIMEOUT,
        retry: Retry = DEFAULT_RETRY,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx2.AsyncClient(
            base_url=checked_url(base_url), headers=_headers(api_key), timeout=timeout, transport=transport
        )
        self._retry = retry
        self._sleep = sleep
        self._clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def classify(self, images: Sequence[ImageSource], **options: Unpack[ClassifyOptions]) -> ClassifyResponse:
        contents = [await asyncio.to_thread(_content, image) for image in images]
        return await self._ask(calls.classify(contents, options))

    async def put_label_set(self, name: str, labels: Labels, templates: Sequence[str] | None = None) -> LabelSetOut:
        return await self._ask(calls.put_label_set(name, labels, templates))

    async def get_label_set(self, name: str) -> LabelSetOut:
        return await self._ask(calls.get_label_set(name))

    async def delete_label_set(self, name: str) -> None:
        await self._ask(calls.delete_label_set(name))

    async def list_label_sets(self, *, page_size: int = PAGE_SIZE) -> AsyncIterator[LabelSetOut]:
        call: Call[Any] | None = calls.list_label_sets(page_size)
        while call is not None:
            page = await self._ask(call)
            for label_set in page.data:
                yield label_set
            call = calls.page_after(page, page_size)

    async def models(self) -> ModelList:
        return await self._ask(calls.models())

    async def model(self, model_id: str) -> BackboneOut | CommitteeOut:
        return await self._ask(calls.model(model_id))

    async def info(self) -> InfoOut:
        return await self._ask(calls.info())

    async def healthy(self) -> bool:
        try:
            calls.health().parse(await self.send(calls.health(), retry=NO_RETRY))
        except ClientError:
            return False
        return True

    async def send(self, call: Call[Any], *, retry: Retry | None = None) -> httpx2.Response:
        attempts = Attempts(call, retry or self._retry, self._http.timeout, self._clock)
        while True:
            try:
                return attempts.check(await self._http.send(attempts.request(self._http)))
            except (httpx2.RequestError, ApiError) as error:
                await self._sleep(attempts.wait_s(error))

    async def _ask(self, call: Call[T]) -> T:
        return call.parse(await self.send(call))


def checked_url(text: str) -> httpx2.URL:
    """Raises `ValueError` unless `text` is an http address."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ValueError(f'"{text}" is not a URL: {error}') from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f'"{text}" is not the address of a server; one looks like {DEFAULT_URL}')
    return url


def _content(image: ImageSource) -> bytes:
    return image if isinstance(image, bytes) else image.read_bytes()


def _headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
