"""Class embeddings of a label set, one matrix per backbone, made once and kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from service.deadline import Deadline, deadline_error
from service.errors import QuorumError
from service.pipeline.embed import Embedder
from service.pipeline.labels import LabelSet, class_embeddings
from service.repository import Backbone

Floats = NDArray[np.float32]
ENCODING_LIMIT_S: Final = 60.0
"""How long one matrix may take. Callers leave earlier, by their own deadlines; the work is then there for the next."""


MAX_UNATTENDED: Final = 4
"""Encodings that go on when every caller has left. With more, callers of short deadlines could pile up work that no
permit counts."""


class LabelMatrices:
    """Least recently used matrices leave when `max_bytes` are reached.

    Callers that want the same matrix at the same time wait for one computation: a popular new label set must not be
    encoded once per request.
    """

    def __init__(self, embedder: Embedder, *, max_bytes: int) -> None:
        self._embedder = embedder
        self._matrices: LRUCache[str, Floats] = LRUCache(max_bytes, getsizeof=lambda matrix: matrix.nbytes)
        self._running: dict[str, asyncio.Task[Floats]] = {}
        self._waiting: Counter[str] = Counter()

    async def of(
        self, label_set: LabelSet, backbones: Sequence[Backbone], deadline: Deadline
    ) -> dict[str, Floats | QuorumError]:
        """By backbone name `float32[c, d]`, unit rows, or why there is none."""
        digest = label_set.digest
        found = await asyncio.gather(*[self._matrix(label_set, digest, backbone, deadline) for backbone in backbones])
        return {backbone.name: matrix for backbone, matrix in zip(backbones, found, strict=True)}

    def has(self, label_set: LabelSet, backbone: Backbone) -> bool:
        """Whether the next request will find the matrix ready."""
        return self._key(label_set.digest, backbone) in self._matrices

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _matrix(
        self, label_set: LabelSet, digest: str, backbone: Backbone, deadline: Deadline
    ) -> Floats | QuorumError:
        key = self._key(digest, backbone)
        matrix = self._matrices.get(key)
        if matrix is not None:
            return matrix
        task = self._running.get(key) or self._start(key, label_set, backbone)
        self._waiting[key] += 1
        try:
            done, _ = await asyncio.wait([task], timeout=deadline.remaining_s)
        finally:
            self._leave(key)
        if not done:
            return deadline_error("encoding labels")
        error = task.exception()
        if isinstance(error, QuorumError):
            return error
        return task.result()

    @staticmethod
    def _key(digest: str, backbone: Backbone) -> str:
        return f"{digest}:{backbone.text.digest}"

    def _start(self, key: str, label_set: LabelSet, backbone: Backbone) -> asyncio.Task[Floats]:
        task = asyncio.create_task(self._encode(label_set, backbone), name=f"encode {key}")
        self._running[key] = task
        task.add_done_callback(lambda task: self._finished(key, task))
        return task

    def _leave(self, key: str) -> None:
        self._waiting[key] -= 1
        if self._waiting[key]:
            return
        del self._waiting[key]
        if key in self._running and len(self._running.keys() - self._waiting.keys()) > MAX_UNATTENDED:
            self._running.pop(key).cancel()

    def _finished(self, key: str, task: asyncio.Task[Floats]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        # Asking for the exception also marks it as seen: every waiter may have left by its own deadline.
        if not task.cancelled() and task.exception() is None and task.result().nbytes <= self._matrices.maxsize:
            self._matrices[key] = task.result()

    async def _encode(self, label_set: LabelSet, backbone: Backbone) -> Floats:
        texts, class_of_prompt = label_set.prompts()
        embeddings = await self._embedder.embed_texts(texts, backbone.text, Deadline.after(ENCODING_LIMIT_S))
        return class_embeddings(embeddings, class_of_prompt, len(label_set.labels))
