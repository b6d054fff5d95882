"""Pictures and their captions as the zoo sees them, and the searches that they make: each side looks for the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pipeline.logits import Floats
from service.policies import QueryKind
from service.repository import Backbone, Zoo
from training.data.rows import Row
from training.evaluate.members import Member, Pictures
from training.evaluate.tasks import RetrievalSet

Integers = npt.NDArray[np.int64]

WORDS: dict[QueryKind, str] = {"text": "text to image", "image": "image to text"}

NOBODYS = -1
"""The owner of an item that answers no query."""


@dataclass(frozen=True, eq=False)
class SearchTask:
    """Queries of one kind in a gallery of the other.

    Per backbone, in the order of `names`: `queries` float32[n, d] and `items` float32[m, d], unit rows, and `scales`
    float32[b], logit scale over temperature. `asking` int64[n] and `owner` int64[m] are positions of pictures: an item
    is what a query looks for where they are equal. Queries of one picture belong together when pictures are drawn.
    """

    kind: QueryKind
    source: str
    names: tuple[str, ...]
    scales: Floats
    queries: tuple[Floats, ...]
    items: tuple[Floats, ...]
    asking: Integers
    owner: Integers

    @property
    def pictures(self) -> int:
        return int(self.asking.max()) + 1

    @property
    def per_query(self) -> npt.NDArray[np.float64]:
        """float64[n], summing to 1: every picture counts the same, whatever its number of queries."""
        return np.asarray(1 / np.bincount(self.asking)[self.asking] / self.pictures)


@dataclass(frozen=True, eq=False)
class Pairs:
    """One retrieval set: per backbone `pictures` float32[p, d] and `captions` float32[c, d], unit rows; `owner`
    int64[c], each caption's picture."""

    source: str
    novelty: str
    rows: tuple[Row, ...]
    names: tuple[str, ...]
    scales: Floats
    pictures: tuple[Floats, ...]
    captions: tuple[Floats, ...]
    owner: Integers

    def task(self, kind: QueryKind) -> SearchTask:
        """Captions that look for their pictures (`text`), or pictures that look for their captions (`image`)."""
        each = np.arange(len(self.rows))
        sides = (self.captions, self.pictures, self.owner, each)
        queries, items, asking, owner = sides if kind == "text" else (sides[1], sides[0], sides[3], sides[2])
        return SearchTask(kind, self.source, self.names, self.scales, queries, items, asking, owner)


def open_pairs(members: Sequence[Member], captioned: RetrievalSet, progress: Callable[[str], None]) -> Pairs:
    """A retrieval set as `members` see it. Raises `DataError` for a picture that cannot be decoded."""
    progress(f"{captioned.source}: {len(captioned.rows)} pictures, {len(captioned.captions)} captions")
    pictures, captions = Pictures(captioned.rows), captioned.captions
    return Pairs(
        source=captioned.source,
        novelty=captioned.novelty,
        rows=captioned.rows,
        names=tuple(member.name for member in members),
        scales=scales_of([member.backbone for member in members]),
        pictures=tuple(member.images(pictures) for member in members),
        captions=tuple(member.texts(captions) for member in members),
        owner=captioned.owner,
    )


def scales_of(backbones: Sequence[Backbone]) -> Floats:
    """float32[b], logit scale over temperature."""
    return np.array([each.logit_scale / each.temperature for each in backbones], dtype=np.float32)


def gflops_of(zoo: Zoo, kind: QueryKind) -> dict[str, float]:
    """By backbone, what it costs to embed one query of a kind."""
    return {
        each.name: (each.text.config.gflops if kind == "text" else each.image.config.gflops) for each in zoo.backbones
    }
