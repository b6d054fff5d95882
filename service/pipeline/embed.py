"""Embeddings of images and texts: cache first, then the engine. Each row has its own outcome, in the caller's order."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture

from service.deadline import Deadline, deadline_error
from service.engines.base import Engine, Outcome, Row
from service.errors import InternalError, QuorumError
from service.pipeline.inputs.decode import ImageLimits, decode
from service.pipeline.inputs.preprocess import preprocess
from service.pipeline.inputs.tokenize import TextTokenizer
from service.repository import Backbone, TextTower
from service.stores.base import EmbeddingCache
from service.timings import Timings
from service.trail import span

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
class Prepared:
    """One image's tensors so far, and its picture while further geometries may be asked for."""

    tensors: Tensors
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Embedded:
    """One image's outcome at one backbone; `cached` says that no work was done for it."""

    outcome: Outcome
    cached: bool = False


class EmbedObserver(Protocol):
    def cache_looked_up(self, hits: int, misses: int) -> None: ...

    def rows_asked(self, tower: str, outcomes: Iterable[str]) -> None:
        """`answered` or an error's code, once per row that a tower was given."""


@dataclass(frozen=True, slots=True)
class Embedder:
    """`target_size` is the largest input of the zoo: a picture is decoded once, for all backbones."""

    engine: Engine
    cache: EmbeddingCache
    tokenizers: Mapping[str, TextTokenizer]
    executor: Executor
    limits: ImageLimits
    target_size: int
    observer: EmbedObserver

    async def embed_images(
        self, images: Sequence[Image], backbones: Sequence[Backbone], deadline: Deadline, timings: Timings
    ) -> list[dict[str, Embedded] | QuorumError]:
        """Per image its `Embedded` by backbone name, or what is wrong with the image.

        Backbones work at the same time. Everything is answered for at the deadline at the latest.
        """
        batch = self.batch(images, backbones, deadline, timings)
        results = await batch.ask(dict.fromkeys(range(len(images)), backbones))
        return [results[index] for index in range(len(images))]

    def batch(
        self, images: Sequence[Image], backbones: Sequence[Backbone], deadline: Deadline, timings: Timings
    ) -> ImageBatch:
        """Images that some of `backbones` are going to be asked about, in one or several rounds."""
        return ImageBatch(self, images, backbones, deadline, timings)

    async def embed_texts(self, texts: Sequence[str], tower: TextTower, deadline: Deadline) -> Floats:
        """`float32[n, d]`, unit rows. Raises the first failing row's error: half a label set is no label set."""
        rows = []
        for embedded in await self.ask_texts(texts, tower, deadline):
            if isinstance(embedded.outcome, QuorumError):
                raise embedded.outcome
            rows.append(embedded.outcome)
        return np.stack(rows)

    async def ask_texts(self, texts: Sequence[str], tower: TextTower, deadline: Deadline) -> list[Embedded]:
        """Each text's outcome. Raises `DeadlineExceededError`; what was embedded by then is in the cache."""
        keys = [hashlib.sha256(f"{tower.digest}\n{text}".encode()).hexdigest() for text in texts]
        known = await self.look_up(keys)
        answers = {key: Embedded(row, cached=True) for key, row in known.items()}
        missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in known}.items())
        loop = asyncio.get_running_loop()
        for start in range(0, len(missing), TEXTS_AT_ONCE):
            part = dict(missing[start : start + TEXTS_AT_ONCE])
            reading = loop.run_in_executor(self.executor, self.tokenizers[tower.name], list(part.values()))
            ids = await deadline.wait_for(reading, "reading texts")
            outcomes = await self.execute(tower.name, list(ids), deadline)
            # Kept part by part: a label set too large for one deadline gets there in several calls.
            fresh = {key: row for key, row in zip(part, outcomes, strict=True) if isinstance(row, np.ndarray)}
            await self.cache.put_many(fresh)
            answers |= {key: Embedded(outcome) for key, outcome in zip(part, outcomes, strict=True)}
        return [answers[key] for key in keys]

    async def count_tokens(self, texts: Sequence[str], tower: TextTower, deadline: Deadline) -> int:
        """Of all `texts` together. Raises `DeadlineExceededError`."""
        loop, tokenizer, total = asyncio.get_running_loop(), self.tokenizers[tower.name], 0
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            counting = loop.run_in_executor(self.executor, tokenizer.count, texts[start : start + TEXTS_AT_ONCE])
            total += await deadline.wait_for(counting, "counting tokens")
        return total

    async def look_up(self, keys: Sequence[str]) -> dict[str, Floats]:
        known = await self.cache.get_many(keys)
        self.observer.cache_looked_up(len(known), len(keys) - len(known))
        return known

    async def execute(self, tower: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
        """As the engine does, and counted."""
        with span(f"tower {tower}", tower=tower, rows=len(rows)) as work:
            outcomes = await self.engine.embed(tower, rows, deadline)
            failures = [outcome.code for outcome in outcomes if isinstance(outcome, QuorumError)]
            if failures:
                work.put(rows_failed=len(failures))
                work.failed(failures[0])
        self.observer.rows_asked(tower, [_said(outcome) for outcome in outcomes])
        return outcomes

    def key(self, image: Image, backbone: Backbone) -> str:
        """Under which the cache holds an embedding."""
        # The decoder's own reduction depends on the zoo's largest input, so that is part of what made the embedding.
        return f"{image.digest}:{backbone.image.digest}:{backbone.preprocessing.geometry}:{self.target_size}"


class ImageBatch:
    """The images of one request: decoded once, however many rounds of asking there are.

    Known embeddings are found before anything is decoded, so a known image costs a digest and a look-up. A picture
    stays in memory while one of the request's backbones may still want it in another geometry.
    """

    def __init__(
        self,
        embedder: Embedder,
        images: Sequence[Image],
        backbones: Sequence[Backbone],
        deadline: Deadline,
        timings: Timings,
    ) -> None:
        self._embedder = embedder
        self._images = images
        self._geometries = {backbone.preprocessing.geometry for backbone in backbones}
        self._deadline = deadline
        self._timings = timings
        self._prepared: dict[int, Prepared | QuorumError] = {}

    async def ask(self, asking: Mapping[int, Sequence[Backbone]]) -> dict[int, dict[str, Embedded] | QuorumError]:
        """Ask about the images at some indices; per index `Embedded` by backbone name, or what is wrong with the image.

        Backbones work at the same time, each on all of its images together.
        """
        embedder, images = self._embedder, self._images
        pairs = [(index, backbone) for index, backbones in asking.items() for backbone in backbones]
        with self._timings.measure("cache", looked_up=len(pairs)) as looking:
            known = await embedder.look_up([embedder.key(images[index], backbone) for index, backbone in pairs])
            looking.put(hits=len(known))
        answered: dict[int, dict[str, Embedded]] = {index: {} for index in asking}
        missing: dict[int, list[Backbone]] = {}
        for index, backbone in pairs:
            hit = known.get(embedder.key(images[index], backbone))
            if hit is None:
                missing.setdefault(index, []).append(backbone)
            else:
                answered[index][backbone.name] = Embedded(hit, cached=True)
        with self._timings.measure("decode", images=len(missing)):
            await self._prepare_all(missing)
        with self._timings.measure("embed"):
            wanted = {backbone.name: backbone for backbones in missing.values() for backbone in backbones}
            columns = await asyncio.gather(*[self._ask_one(backbone, missing) for backbone in wanted.values()])
        for backbone, column in zip(wanted.values(), columns, strict=True):
            for index, embedded in column.items():
                answered[index][backbone.name] = embedded
        return {index: self._outcomes(index, answered[index], missing.get(index, ())) for index in asking}

    def _outcomes(
        self, index: int, answers: dict[str, Embedded], missing: Sequence[Backbone]
    ) -> dict[str, Embedded] | QuorumError:
        """What is wrong with an image is its own error, but whoever knew it before still answers."""
        prepared = self._prepared.get(index)
        if not missing or not isinstance(prepared, QuorumError):
            return answers
        return answers | {backbone.name: Embedded(prepared) for backbone in missing} if answers else prepared

    async def _prepare_all(self, missing: Mapping[int, Sequence[Backbone]]) -> None:
        """The tensors that the asked backbones take; an image that nobody is asked about is not decoded."""
        loop = asyncio.get_running_loop()
        running = {
            index: loop.run_in_executor(self._embedder.executor, self._prepare, index, backbones)
            for index, backbones in missing.items()
            if not self._is_ready(index, backbones)
        }
        if running:
            await asyncio.wait(running.values(), timeout=self._deadline.remaining_s)
        self._prepared |= {index: _outcome(task) for index, task in running.items()}

    def _is_ready(self, index: int, backbones: Sequence[Backbone]) -> bool:
        prepared = self._prepared.get(index)
        if not isinstance(prepared, Prepared):
            return prepared is not None  # what is wrong with an image stays wrong
        return all(backbone.preprocessing.geometry in prepared.tensors for backbone in backbones)

    def _prepare(self, index: int, backbones: Sequence[Backbone]) -> Prepared:
        self._deadline.check("waiting to be decoded")
        before = self._prepared.get(index)
        tensors, picture = (before.tensors, before.picture) if isinstance(before, Prepared) else ({}, None)
        if picture is None:
            picture = decode(self._images[index].data, self._embedder.limits, self._embedder.target_size)
        wanted = {each.preprocessing.geometry: each.preprocessing for each in backbones}
        made = {name: preprocess(picture, each) for name, each in wanted.items() if name not in tensors}
        tensors = tensors | made
        return Prepared(tensors, picture if self._geometries - tensors.keys() else None)

    async def _ask_one(self, backbone: Backbone, missing: Mapping[int, Sequence[Backbone]]) -> dict[int, Embedded]:
        """`backbone`'s fresh outcomes by the image's index."""
        rows = {
            index: prepared.tensors[backbone.preprocessing.geometry]
            for index, backbones in missing.items()
            if backbone in backbones and isinstance(prepared := self._prepared[index], Prepared)
        }
        if not rows:
            return {}
        embedder = self._embedder
        outcomes = await embedder.execute(backbone.image.name, list(rows.values()), self._deadline)
        fresh = dict(zip(rows, outcomes, strict=True))
        good = {
            embedder.key(self._images[index], backbone): row
            for index, row in fresh.items()
            if isinstance(row, np.ndarray)
        }
        await embedder.cache.put_many(good)
        return {index: Embedded(outcome) for index, outcome in fresh.items()}


def _said(outcome: Outcome) -> str:
    return outcome.code if isinstance(outcome, QuorumError) else "answered"


def _outcome(task: asyncio.Future[Prepared]) -> Prepared | QuorumError:
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
