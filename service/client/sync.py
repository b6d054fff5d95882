"""The client whose calls block. It differs from the other in how it waits, sends and reads files, in nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
            base_url=checked_url(base_url), headers=headers(api_key), timeout=timeout, transport=transport
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
        """Zero-shot, or as a label set was fitted. A broken image among several is an `ItemError` in `results`, alone
        it is an `ApiError`."""
        return self._ask(calls.classify(contents(images), options))

    def embed(
        self,
        inputs: EmbeddingSource | Sequence[EmbeddingSource],
        *,
        model: str = COMMITTEE,
        deadline_ms: int | None = None,
    ) -> Embeddings:
        """Texts and images in one space, alike or mixed; `model` may be a backbone. All or nothing: an `ApiError` names
        the input that is wrong in its `param`."""
        return Embeddings.of(self._ask(calls.embed(embeddable(inputs), model, deadline_ms)))

    def put_label_set(self, name: str, labels: Labels, templates: Sequence[str] | None = None) -> LabelSetDetails:
        """Create or replace; `labels` may map each class to its phrasings."""
        return self._ask(calls.put_label_set(name, labels, templates))

    def get_label_set(self, name: str) -> LabelSetDetails:
        """With what is fitted for it, and whether that applies."""
        return self._ask(calls.get_label_set(name))

    def delete_label_set(self, name: str) -> None:
        """With everything that was fitted for it."""
        self._ask(calls.delete_label_set(name))

    def list_label_sets(self, *, page_size: int = PAGE_SIZE) -> Iterator[LabelSetOut]:
        """All of them, in order of name; pages are fetched as they are needed."""
        call: Call[Any] | None = calls.list_label_sets(page_size)
        while call is not None:
            page = self._ask(call)
            yield from page.data
            call = calls.page_after(page, page_size)

    def fit_controller(self, name: str, examples: Examples, *, seed: int = 0) -> JobOut:
        """Begin to fit weights for a label set on labelled images; one per class is enough. See `wait_for_job`."""
        return self._ask(calls.fit_controller(name, labelled(examples), seed))

    def calibrate_cascade(
        self,
        name: str,
        images: Sequence[ImageSource],
        *,
        labels: Sequence[str] | None = None,
        epsilon: float | None = None,
        delta: float | None = None,
    ) -> JobOut:
        """Begin to calibrate on images like those to come; with `labels`, one for each, accuracy is bounded as well.
        See `wait_for_job`."""
        return self._ask(calls.calibrate_cascade(name, contents(images), labels, epsilon, delta))

    def job(self, job_id: str) -> JobOut:
        return self._ask(calls.job(job_id))

    def wait_for_job(
        self, job_id: str, *, on_progress: OnProgress | None = None, timeout_s: float | None = None
    ) -> JobOut:
        """The job once it has succeeded; `on_progress` is called at every look. Raises `JobFailedError` when it failed
        or was cancelled, `JobUnfinishedError` after `timeout_s`: it then goes on, as after any lost connection."""
        looks = Looks(on_progress, timeout_s, self._clock)
        while (wait_s := looks.wait_s(job := self.job(job_id))) is not None:
            self._sleep(wait_s)
        return job

    def cancel_job(self, job_id: str) -> JobOut:
        """Nothing of it is activated. An `ApiError` with status 409 when it succeeded or failed before."""
        return self._ask(calls.cancel_job(job_id))

    def list_jobs(self, *, label_set: str | None = None, page_size: int = PAGE_SIZE) -> Iterator[JobOut]:
        """Newest first; pages are fetched as they are needed."""
        call: Call[Any] | None = calls.list_jobs(page_size, label_set)
        while call is not None:
            page = self._ask(call)
            yield from page.data
            call = calls.jobs_after(page, page_size, label_set)

    def fitted(self, name: str, kind: Kind) -> FittedOut:
        """The versions of a label set's controller or cascade. An `ApiError` with status 404 when there is none."""
        return self._ask(calls.fitted(name, kind))

    def activate(self, name: str, kind: Kind, version: int) -> FittedOut:
        """Go back, or forward, to a version that is still kept."""
        return self._ask(calls.activate(name, kind, version))

    def delete_fitted(self, name: str, kind: Kind) -> None:
        """Every version of it."""
        self._ask(calls.delete_fitted(name, kind))

    def create_gallery(self, name: str, **options: Unpack[GalleryOptions]) -> GalleryDetails:
        """For good: one that is there otherwise than asked for is an `ApiError` with code `gallery_differs`."""
        return self._ask(gallery_calls.create_gallery(name, options))

    def gallery(self, name: str) -> GalleryDetails:
        """How many items it has, whether it is ready and how it is searched."""
        return self._ask(gallery_calls.gallery(name))

    def list_galleries(self, *, page_size: int = PAGE_SIZE) -> Iterator[GalleryOut]:
        """All of them, in order of name; pages are fetched as they are needed."""
        call: Call[Any] | None = gallery_calls.list_galleries(page_size)
        while call is not None:
            page = self._ask(call)
            yield from page.data
            call = gallery_calls.galleries_after(page, page_size)

    def delete_gallery(self, name: str) -> None:
        """With everything in it."""
        self._ask(gallery_calls.delete_gallery(name))

    def add_items(self, gallery: str, items: Iterable[Item], *, deadline_ms: int | None = None) -> ItemsResponse:
        """Add or replace, all in one call; `results` has per item what changed, or an `ItemFailure`. What is there
        unchanged is not embedded again, so that the same call may be sent twice."""
        return self._ask(gallery_calls.add_items(gallery, read_items(items), deadline_ms))

    def list_items(
        self, gallery: str, *, filter: Mapping[str, object] | None = None, page_size: int = PAGE_SIZE
    ) -> Iterator[ItemOut]:
        """All that meet the filter, in order of id; pages are fetched as they are needed."""
        call: Call[Any] | None = gallery_calls.list_items(gallery, page_size, filter)
        while call is not None:
            page = self._ask(call)
            yield from page.data
            call = gallery_calls.items_after(page, gallery, page_size, filter)

    def look_up_items(self, gallery: str, ids: Sequence[str]) -> ItemsFound:
        """What is known of some items, and which of them are not there."""
        return self._ask(gallery_calls.look_up_items(gallery, ids))

    def delete_items(
        self, gallery: str, ids: Sequence[str] | None = None, *, filter: Mapping[str, object] | None = None
    ) -> int:
        """By ids or by a filter; how many there were."""
        return self._ask(gallery_calls.delete_items(gallery, ids, filter)).deleted

    def search(
        self, gallery: str, queries: Query | Iterable[Query], **options: Unpack[SearchOptions]
    ) -> SearchResponse:
        """The best items for each query: a text (any string), an image, `ById`, `Embedding` or a `Mix` of these. One
        that cannot be answered is a `SearchFailure` in `results`."""
        return self._ask(gallery_calls.search(gallery, read_queries(queries), options))

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
