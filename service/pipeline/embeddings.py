"""Embeddings of texts and images, mixed: of one backbone, or of a committee."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.deadline import Deadline
from service.errors import QuorumError
from service.pipeline.embed import Embedded, Embedder, Floats, Image
from service.repository import Backbone
from service.timings import Timings

Input = Image | str
Rows = dict[int, Floats]
"""`float32[d]` of one backbone, by the input's index."""
Faults = dict[int, QuorumError]
"""What is wrong, by the input's index; where every text shares it, at the first of them."""


@dataclass(frozen=True, slots=True)
class EmbeddingQuery:
    inputs: tuple[Input, ...]
    backbones: tuple[Backbone, ...]
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors` `float32[n, d]`, unit rows, in the order of the inputs. `prompt_tokens` were read by the text towers of
    all backbones, `gflops` is the work done for images."""

    vectors: Floats
    prompt_tokens: int
    gflops: float


@dataclass(frozen=True, slots=True)
class _Read:
    """The texts at one backbone: `float32[n, d]`, and how many tokens they are."""

    rows: Floats
    tokens: int


def concatenated(parts: Sequence[Floats]) -> Floats:
    """The committee's embeddings `float32[n, sum d_b]`: those of its B backbones, `float32[n, d_b]`, side by side and
    divided by sqrt(B), so that unit rows stay unit rows and inner products are the mean of the backbones' cosines."""
    return np.concatenate(parts, axis=1) / np.float32(np.sqrt(len(parts)))


def blamed(error: QuorumError, index: int) -> QuorumError:
    """The same error, naming the input in its words as well: OpenAI's clients show the message alone."""
    param = param_of(index)
    return error.__class__(f"{param}: {error.message}", param=param, retry_after_s=error.retry_after_s)


def param_of(index: int) -> str:
    """How the API calls one input."""
    return f"input[{index}]"


class CommitteeEmbedder:
    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def embed(self, query: EmbeddingQuery, timings: Timings) -> Embeddings:
        """All embeddings by the query's deadline, texts and images at the same time and every backbone beside the
        others.

        It is all or nothing: raises the first error that the caller can mend, naming the input, else the first of ours.
        """
        images = {index: each for index, each in enumerate(query.inputs) if isinstance(each, Image)}
        texts = {index: each for index, each in enumerate(query.inputs) if isinstance(each, str)}
        seen, read = await asyncio.gather(self._see(images, query, timings), self._read(texts, query, timings))
        by_backbone: list[Rows] = []
        faults: Faults = {}
        for backbone in query.backbones:
            rows, wrong = _rows(backbone.name, seen, texts, read)
            by_backbone.append(rows)
            faults = wrong | faults
        if faults:
            raise _most_useful(faults)
        order = range(len(query.inputs))
        vectors = concatenated([np.stack([rows[index] for index in order]) for rows in by_backbone])
        tokens = sum(each.tokens for each in read.values() if isinstance(each, _Read))
        return Embeddings(vectors, tokens, _gflops(seen, query.backbones))

    async def _see(
        self, images: Mapping[int, Image], query: EmbeddingQuery, timings: Timings
    ) -> dict[int, dict[str, Embedded] | QuorumError]:
        if not images:
            return {}
        found = await self._embedder.embed_images(list(images.values()), query.backbones, query.deadline, timings)
        return dict(zip(images, found, strict=True))

    async def _read(
        self, texts: Mapping[int, str], query: EmbeddingQuery, timings: Timings
    ) -> dict[str, _Read | QuorumError]:
        if not texts:
            return {}
        words = list(texts.values())
        with timings.measure("texts"):
            found = await asyncio.gather(*[self._read_by(each, words, query.deadline) for each in query.backbones])
        return {backbone.name: each for backbone, each in zip(query.backbones, found, strict=True)}

    async def _read_by(self, backbone: Backbone, texts: list[str], deadline: Deadline) -> _Read | QuorumError:
        embedder = self._embedder
        try:
            # Counted by themselves: texts that the cache knows are not tokenised otherwise, and have tokens as well.
            rows, tokens = await asyncio.gather(
                embedder.embed_texts(texts, backbone.text, deadline),
                embedder.count_tokens(texts, backbone.text, deadline),
            )
        except QuorumError as error:
            return error
        return _Read(rows, tokens)


def _rows(
    name: str,
    seen: Mapping[int, dict[str, Embedded] | QuorumError],
    texts: Mapping[int, str],
    read: Mapping[str, _Read | QuorumError],
) -> tuple[Rows, Faults]:
    """One backbone's embeddings, and what kept it from making the others."""
    rows: Rows = {}
    faults: Faults = {}
    for index, image in seen.items():
        outcome = image if isinstance(image, QuorumError) else image[name].outcome
        if isinstance(outcome, QuorumError):
            faults[index] = outcome
        else:
            rows[index] = outcome
    if texts:
        words = read[name]
        if isinstance(words, QuorumError):
            faults[next(iter(texts))] = words
        else:
            rows |= zip(texts, words.rows, strict=True)
    return rows, faults


def _most_useful(faults: Faults) -> QuorumError:
    """What the caller can mend comes first: to try again without mending it would be in vain."""
    index = min(faults, key=lambda index: (faults[index].status >= 500, index))
    error = faults[index]
    return error if error.status >= 500 else blamed(error, index)


def _gflops(seen: Mapping[int, dict[str, Embedded] | QuorumError], backbones: Sequence[Backbone]) -> float:
    cost = {backbone.name: backbone.gflops for backbone in backbones}
    answers = [image for image in seen.values() if isinstance(image, dict)]
    return sum(cost[name] for answer in answers for name, each in answer.items() if not each.cached)
