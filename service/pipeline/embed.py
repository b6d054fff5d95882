"""Embeddings of images and texts: cache first, then the engine. Each row has its own outcome, in the caller's order."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from service.deadline import Deadline, deadline_error
from service.engines.base import Engine, Outcome
from service.errors import InternalError, QuorumError
from service.pipeline.decode import ImageLimits, decode
from service.pipeline.preprocess import preprocess
from service.pipeline.tokenize import TextTokenizer
from service.repository import Backbone, TextTower
from service.stores.base import EmbeddingCache
from service.timings import Timings

log = logging.getLogger(__name__)

TEXTS_AT_ONCE: Final = 256
"""Rows of one label set in an engine's queue: a set of 10,000 prompts must not keep a set of three waiting."""

Floats = NDArray[np.float32]
Tensors = dict[str, NDArray[np.uint8]]
"""One picture's `uint8[size, size, 3]` by geometry; backbones of equal geometry share one."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a request; caches know it by `digest`, the sha256 of its bytes."""

    data: bytes
    digest: str

    @classmethod
    def of(cls, data: bytes) -> Image:
        return cls(data, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Embedded:
    """One image's outcome at one backbone; `cached` says that no work was done for it."""

    outcome: Outcome
    cached: bool = False


class CacheObserver(Protocol):
    def cache_looked_up(self, hits: int, misses: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Embedder:
    """`target_size` is the largest input of the zoo: a picture is decoded once, for all backbones."""

    engine: Engine
    cache: EmbeddingCache
    tokenizers: Mapping[str, TextTokenizer]
    executor: Executor
    limits: ImageLimits
    target_size: int
    observer: CacheObserver

    async def embed_images(
        self, images: Sequence[Image], backbones: Sequence[Backbone], deadline: Deadline, timings: Timings
    ) -> list[dict[str, Embedded] | QuorumError]:
        """Per image its `Embedded` by backbone name, or what is wrong with the image.

        Known embeddings are found before anything is decoded, so a known image costs a digest and a look-up. Backbones
        work at the same time. Everything is answered for at the deadline at the latest.
        """
        with timings.measure("cache"):
            known = await self._known([self._key(image, backbone) for image in images for backbone in backbones])
        asked = [[each for each in backbones if self._key(image, each) not in known] for image in images]
        with timings.measure("decode"):
            tensors = await self._prepare_all(images, asked, deadline)
        with timings.measure("embed"):
            columns = await asyncio.gather(
                *[self._ask(backbone, images, asked, tensors, deadline) for backbone in backbones]
            )
        results: list[dict[str, Embedded] | QuorumError] = []
        for index, (image, entry) in enumerate(zip(images, tensors, strict=True)):
            if isinstance(entry, QuorumError):
                results.append(entry)
                continue
            hits = {each.name: known.get(self._key(image, each)) for each in backbones}
            cached = {name: Embedded(hit, cached=True) for name, hit in hits.items() if hit is not None}
            fresh = {
                each.name: column[index] for each, column in zip(backbones, columns, strict=True) if index in column
            }
            results.append(cached | fresh)
        return results

    async def embed_texts(self, texts: Sequence[str], tower: TextTower, deadline: Deadline) -> Floats:
        """`float32[n, d]`, unit rows. Raises the first failing row's error: half a label set is no label set."""
        keys = [hashlib.sha256(f"{tower.digest}\n{text}".encode()).hexdigest() for text in texts]
        known = await self._known(keys)
        missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in known}.items())
        loop = asyncio.get_running_loop()
        for start in range(0, len(missing), TEXTS_AT_ONCE):
            part = dict(missing[start : start + TEXTS_AT_ONCE])
            ids = await loop.run_in_executor(self.executor, self.tokenizers[tower.name], list(part.values()))
            outcomes = await self.engine.embed(tower.name, list(ids), deadline)
            # Kept before anything is raised: a label set too large for one deadline gets there in several calls.
            fresh = {key: row for key, row in zip(part, outcomes, strict=True) if isinstance(row, np.ndarray)}
            await self.cache.put_many(fresh)
            known |= fresh
            for outcome in outcomes:
                if isinstance(outcome, QuorumError):
                    raise outcome
        return np.stack([known[key] for key in keys])

    async def _known(self, keys: Sequence[str]) -> dict[str, Floats]:
        known = await self.cache.get_many(keys)
        self.observer.cache_looked_up(len(known), len(keys) - len(known))
        return known

    async def _prepare_all(
        self, images: Sequence[Image], asked: Sequence[Sequence[Backbone]], deadline: Deadline
    ) -> list[Tensors | QuorumError]:
        """Per image the tensors that the asked backbones take; an image that nobody is asked about is not decoded."""
        loop = asyncio.get_running_loop()
        running = {
            index: loop.run_in_executor(self.executor, self._prepare, image.data, backbones, deadline)
            for index, (image, backbones) in enumerate(zip(images, asked, strict=True))
            if backbones
        }
        if running:
            await asyncio.wait(running.values(), timeout=deadline.remaining_s)
        return [_tensors(running[index]) if index in running else {} for index in range(len(images))]

    def _prepare(self, data: bytes, backbones: Sequence[Backbone], deadline: Deadline) -> Tensors:
        deadline.check("waiting to be decoded")
        picture = decode(data, self.limits, self.target_size)
        geometries = {backbone.preprocessing.geometry: backbone.preprocessing for backbone in backbones}
        return {geometry: preprocess(picture, preprocessing) for geometry, preprocessing in geometries.items()}

    async def _ask(
        self,
        backbone: Backbone,
        images: Sequence[Image],
        asked: Sequence[Sequence[Backbone]],
        tensors: Sequence[Tensors | QuorumError],
        deadline: Deadline,
    ) -> dict[int, Embedded]:
        """`backbone`'s fresh outcomes by the image's index."""
        rows = {
            index: entry[backbone.preprocessing.geometry]
            for index, entry in enumerate(tensors)
            if backbone in asked[index] and not isinstance(entry, QuorumError)
        }
        if not rows:
            return {}
        outcomes = await self.engine.embed(backbone.image.name, list(rows.values()), deadline)
        fresh = dict(zip(rows, outcomes, strict=True))
        good = {self._key(images[index], backbone): row for index, row in fresh.items() if isinstance(row, np.ndarray)}
        await self.cache.put_many(good)
        return {index: Embedded(outcome) for index, outcome in fresh.items()}

    def _key(self, image: Image, backbone: Backbone) -> str:
        # The decoder's own reduction depends on the zoo's largest input, so that is part of what made the embedding.
        return f"{image.digest}:{backbone.image.digest}:{backbone.preprocessing.geometry}:{self.target_size}"


def _tensors(task: asyncio.Future[Tensors]) -> Tensors | QuorumError:
    if not task.done():
        task.cancel()
        return deadline_error("decoding images")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, QuorumError):
        return error
    log.error("preparing an image failed", exc_info=error)
    return InternalError("This image could not be processed; that is our fault, and it was logged.")
