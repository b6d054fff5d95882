"""The client for an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import httpx2

from service.api.model_schemas import BackboneOut, CommitteeOut, InfoOut, ModelList
from service.api.schemas import ClassifyResponse, FittedOut, JobOut, LabelSetDetails, LabelSetOut
from service.client import calls, gallery_calls
from service.client.attempts import DEFAULT_RETRY, DEFAULT_TIMEOUT, NO_RETRY, Attempts, Retry
from service.client.calls import COMMITTEE, PAGE_SIZE, Call, ClassifyOptions, Kind
from service.client.connecting import (
    DEFAULT_URL,
    EmbeddingSource,
    Examples,
    ImageSource,
    Labels,
    checked_url,
    contents,
    embeddable,
    headers,
    labelled,
)
from service.client.embeddings import Embeddings
from service.client.errors import ApiError, ClientError
from service.client.gallery_calls import GalleryOptions, SearchOptions
from service.client.gallery_content import Item, Query, read_items, read_queries
from service.client.waiting import Looks, OnProgress

if TYPE_CHECKING:
    from service.api.gallery_schemas import (
        GalleryDetails,
        GalleryOut,
        ItemOut,
        ItemsFound,
        ItemsResponse,
        SearchResponse,
    )

T = TypeVar("T")


class AsyncQuorumClient:
    """`QuorumClient` for an event loop: its methods, to be awaited, and described there."""

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
            base_url=checked_url(base_url), headers=headers(api_key), timeout=timeout, transport=transport
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
        return await self._ask(calls.classify(await asyncio.to_thread(contents, images), options))

    async def embed(
        self,
        inputs: EmbeddingSource | Sequence[EmbeddingSource],
        *,
        model: str = COMMITTEE,
        deadline_ms: int | None = None,
    ) -> Embeddings:
        data = await asyncio.to_thread(embeddable, inputs)
        return Embeddings.of(await self._ask(calls.embed(data, model, deadline_ms)))

    async def put_label_set(self, name: str, labels: Labels, templates: Sequence[str] | None = None) -> LabelSetDetails:
        return await self._ask(calls.put_label_set(name, labels, templates))

    async def get_label_set(self, name: str) -> LabelSetDetails:
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

    async def fit_controller(self, name: str, examples: Examples, *, seed: int = 0) -> JobOut:
        return await self._ask(calls.fit_controller(name, await asyncio.to_thread(labelled, examples), seed))

    async def calibrate_cascade(
        self,
        name: str,
        images: Sequence[ImageSource],
        *,
        labels: Sequence[str] | None = None,
        epsilon: float | None = None,
        delta: float | None = None,
    ) -> JobOut:
        data = await asyncio.to_thread(contents, images)
        return await self._ask(calls.calibrate_cascade(name, data, labels, epsilon, delta))

    async def job(self, job_id: str) -> JobOut:
        return await self._ask(calls.job(job_id))

    async def wait_for_job(
        self, job_id: str, *, on_progress: OnProgress | None = None, timeout_s: float | None = None
    ) -> JobOut:
        looks = Looks(on_progress, timeout_s, self._clock)
        while (wait_s := looks.wait_s(job := await self.job(job_id))) is not None:
            await self._sleep(wait_s)
        return job

    async def cancel_job(self, job_id: str) -> JobOut:
        return await self._ask(calls.cancel_job(job_id))

    async def list_jobs(self, *, label_set: str | None = None, page_size: int = PAGE_SIZE) -> AsyncIterator[JobOut]:
        call: Call[Any] | None = calls.list_jobs(page_size, label_set)
        while call is not None:
            page = await self._ask(call)
            for job in page.data:
                yield job
            call = calls.jobs_after(page, page_size, label_set)

    async def fitted(self, name: str, kind: Kind) -> FittedOut:
        return await self._ask(calls.fitted(name, kind))

    async def activate(self, name: str, kind: Kind, version: int) -> FittedOut:
        return await self._ask(calls.activate(name, kind, version))

    async def delete_fitted(self, name: str, kind: Kind) -> None:
        await self._ask(calls.delete_fitted(name, kind))

    async def create_gallery(self, name: str, **options: Unpack[GalleryOptions]) -> GalleryDetails:
        return await self._ask(gallery_calls.create_gallery(name, options))

    async def gallery(self, name: str) -> GalleryDetails:
        return await self._ask(gallery_calls.gallery(name))

    async def list_galleries(self, *, page_size: int = PAGE_SIZE) -> AsyncIterator[GalleryOut]:
        call: Call[Any] | None = gallery_calls.list_galleries(page_size)
        while call is not None:
            page = await self._ask(call)
            for gallery in page.data:
                yield gallery
            call = gallery_calls.galleries_after(page, page_size)

    async def delete_gallery(self, name: str) -> None:
        await self._ask(gallery_calls.delete_gallery(name))

    async def add_items(self, gallery: str, items: Iterable[Item], *, deadline_ms: int | None = None) -> ItemsResponse:
        contents = await asyncio.to_thread(read_items, items)
        return await self._ask(gallery_calls.add_items(gallery, contents, deadline_ms))

    async def list_items(
        self, gallery: str, *, filter: Mapping[str, object] | None = None, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[ItemOut]:
        call: Call[Any] | None = gallery_calls.list_items(gallery, page_size, filter)
        while call is not None:
            page = await self._ask(call)
            for item in page.data:
                yield item
            call = gallery_calls.items_after(page, gallery, page_size, filter)

    async def look_up_items(self, gallery: str, ids: Sequence[str]) -> ItemsFound:
        return await self._ask(gallery_calls.look_up_items(gallery, ids))

    async def delete_items(
        self, gallery: str, ids: Sequence[str] | None = None, *, filter: Mapping[str, object] | None = None
    ) -> int:
        return (await self._ask(gallery_calls.delete_items(gallery, ids, filter))).deleted

    async def search(
        self, gallery: str, queries: Query | Iterable[Query], **options: Unpack[SearchOptions]
    ) -> SearchResponse:
        contents = await asyncio.to_thread(read_queries, queries)
        return await self._ask(gallery_calls.search(gallery, contents, options))

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
