"""Examples for the ladder from pictures with captions: which of some hundred candidates belongs to this query?

A text query is a caption; its classes are pictures, its own and others of the same source drawn at random. An image
query is a picture with the j-th of its captions; its classes are the j-th captions of pictures, its own and others. The
truth stands at a random place. So the ladder, which knows classes by position, learns nothing but whom to trust. That
another picture's caption may fit as well is noise that every candidate of the ladder sees alike.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.pipeline.controller.examples import Examples, make_examples
from service.pipeline.logits import Floats
from service.policies import QueryKind
from training.data.rows import DataError
from training.evaluate.retrieval.pairs import Integers, Pairs

CLASSES = 300
"""Candidates of an example, or as many as the smallest source has pictures."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Example by example: `queries` int64[n] and `candidates` int64[n, c], rows of one side and the other; `truth`
    int64[n], the place of its own among the candidates; `digests`, one each."""

    queries: Integers
    candidates: Integers
    truth: Integers
    digests: tuple[str, ...]


def retrieval_examples(sources: Sequence[Pairs], kind: QueryKind, seed: int, classes: int = CLASSES) -> Examples:
    """All sources' queries of one kind as examples of one label set.

    The same rows and seed give the same examples, whatever order rows and sources came in. Raises `DataError` where
    there are not two candidates to choose from.
    """
    ordered = sorted(sources, key=lambda pairs: pairs.source)
    groups = {pairs.source: list(_groups(pairs, kind)) for pairs in ordered}
    classes = min([classes, *(len(groups[pairs.source][0]) for pairs in ordered)])
    if classes < 2:
        raise DataError("an example needs two pictures with captions in the fit split of every source")
    generator = np.random.default_rng([seed, 0 if kind == "text" else 1])
    drawn = [(pairs, _draw(pairs, kind, groups[pairs.source], classes, generator)) for pairs in ordered]
    names = ordered[0].names
    embeddings = [
        np.concatenate([_sides(pairs, kind)[0][place][found.queries] for pairs, found in drawn])
        for place in range(len(names))
    ]
    logits = np.concatenate([_logits(pairs, kind, found) for pairs, found in drawn], axis=1)
    truth = np.concatenate([found.truth for _, found in drawn])
    digests = [digest for _, found in drawn for digest in found.digests]
    return make_examples(names, embeddings, logits, truth, digests)


def _groups(pairs: Pairs, kind: QueryKind) -> Iterator[Integers]:
    """Captions, int64[pictures], that stand for as many different pictures: all first captions, all second, ...

    A picture that is there twice counts once. For text queries there is one group, since pictures are the candidates.
    """
    first: dict[str, int] = {}
    for place, row in enumerate(pairs.rows):
        first.setdefault(row.digest, place)
    places = np.array([first[digest] for digest in sorted(first)])
    starts, counts = np.searchsorted(pairs.owner, places), np.bincount(pairs.owner)[places]
    for number in range(1 if kind == "text" else int(counts.max())):
        yield starts[counts > number] + number


def _draw(
    pairs: Pairs, kind: QueryKind, groups: Sequence[Integers], classes: int, generator: np.random.Generator
) -> _Drawn:
    asked = (
        _caption_queries(pairs, groups[0])
        if kind == "text"
        else [
            (place, caption, group) for group in groups if len(group) >= classes for place, caption in enumerate(group)
        ]
    )
    queries, candidates, truth, digests = [], [], [], []
    for own, caption, group in asked:
        others = generator.permutation(np.delete(np.arange(len(group)), own))[: classes - 1]
        column = int(generator.integers(classes))
        chosen = group[np.insert(others, column, own)]
        picture = int(pairs.owner[caption])
        queries.append(int(caption) if kind == "text" else picture)
        candidates.append(pairs.owner[chosen] if kind == "text" else chosen)
        truth.append(column)
        number = caption - np.searchsorted(pairs.owner, picture)
        digests.append(_digest(kind, pairs.source, pairs.rows[picture].digest, int(number)))
    return _Drawn(np.array(queries), np.stack(candidates), np.array(truth, dtype=np.int64), tuple(digests))


def _caption_queries(pairs: Pairs, group: Integers) -> list[tuple[int, int, Integers]]:
    """Every caption of the group's pictures, with the place of its picture in the group."""
    return [
        (place, int(caption), group)
        for place, picture in enumerate(pairs.owner[group])
        for caption in np.flatnonzero(pairs.owner == picture)
    ]


def _sides(pairs: Pairs, kind: QueryKind) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Who asks and who is looked for."""
    return (pairs.captions, pairs.pictures) if kind == "text" else (pairs.pictures, pairs.captions)


def _logits(pairs: Pairs, kind: QueryKind, drawn: _Drawn) -> Floats:
    """float32[b, n, c], scaled as the gateway scales them."""
    queries, items = _sides(pairs, kind)
    found = []
    for place, scale in enumerate(pairs.scales):
        cosines = queries[place] @ items[place].T
        found.append(cosines[drawn.queries[:, None], drawn.candidates] * scale)
    return np.stack(found)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
