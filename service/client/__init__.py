"""A small typed client of the API, synchronous and asynchronous.

    with QuorumClient("http://127.0.0.1:8000") as quorum:
        answer = quorum.classify([Path("cat.jpg")], labels=["cat", "dog"])

        vectors = quorum.embed(["a sleeping cat", Path("cat.jpg")]).vectors

A gallery keeps images, texts and ready embeddings, and finds them again:

        quorum.create_gallery("shop", fields={"year": "integer"})
        quorum.add_items("shop", [Item("dress.jpg", Path("dress.jpg"), {"year": 2024})])
        answer = quorum.search("shop", ["a red dress", Mix([(Path("photo.jpg"), 0.7), ("in blue", 0.3)])], top_k=5)

What takes longer is a job, and what comes of it can be read typed:

        job = quorum.fit_controller("pets", [(Path("cat.jpg"), "cat"), (Path("dog.jpg"), "dog")])
        result = FitResult.of(quorum.wait_for_job(job.id, on_progress=lambda job: print(f"{job.progress:.0%}")))

It imports neither the web framework nor an engine: what both sides share are the models of `service.api.schemas`
and `service.api.gallery_schemas`.
"""

from service.client.aio import AsyncQuorumClient
from service.client.attempts import DEFAULT_RETRY, DEFAULT_TIMEOUT, NO_RETRY, Retry
from service.client.calls import Call, ClassifyOptions, Kind
from service.client.connecting import DEFAULT_URL
from service.client.embeddings import Embeddings
from service.client.errors import (
    ApiError,
    ClientError,
    ConnectionFailedError,
    JobError,
    JobFailedError,
    JobUnfinishedError,
    TimedOutError,
    UnexpectedResponseError,
)
from service.client.gallery_calls import GalleryOptions, SearchOptions
from service.client.gallery_content import ById, Embedding, Item, Mix, Query
from service.client.results import CalibrationResult, FitResult
from service.client.sync import QuorumClient

__all__ = [
    "DEFAULT_RETRY",
    "DEFAULT_TIMEOUT",
    "DEFAULT_URL",
    "NO_RETRY",
    "ApiError",
    "AsyncQuorumClient",
    "ById",
    "CalibrationResult",
    "Call",
    "ClassifyOptions",
    "ClientError",
    "ConnectionFailedError",
    "Embedding",
    "Embeddings",
    "FitResult",
    "GalleryOptions",
    "Item",
    "JobError",
    "JobFailedError",
    "JobUnfinishedError",
    "Kind",
    "Mix",
    "Query",
    "QuorumClient",
    "Retry",
    "SearchOptions",
    "TimedOutError",
    "UnexpectedResponseError",
]
