"""Further items for a gallery: embeddings that no picture or caption has, made from those of real ones.

Each is a mixture of two real items of the source's other splits, drawn at random: `u = (1 - t) e_1 + t e_2 + noise`,
made unit length, with t even in 0 to `MOST_OF_SECOND`. All backbones mix the same two by the same t, so that what they
say of an item hangs together as it does for a real one; the noise, of length `NOISE`, is each backbone's own. They
stand in for a large gallery, where nobody has a large one; the suite reports how hard they are beside real items.

They are made anew, block by block, each time that they are read: the same bits, and never all in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.pipeline.logits import Floats, unit_rows
from service.policies import QueryKind
from training.evaluate.retrieval.search import Block
from training.evaluate.statistics import generator

MOST_OF_SECOND = 0.5
NOISE = 0.1
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Distractors:
    """By kind of query so many `counts` items for its gallery, none where nothing is said. `pools`: per backbone in the
    zoo's order the real items, float32[n, d], that they are made of. `name` seeds them."""

    name: str
    counts: Mapping[QueryKind, int]
    pools: Mapping[QueryKind, Sequence[Floats]]

    def blocks(self, kind: QueryKind) -> Iterator[Block]:
        """At most `BLOCK` items at a time, per backbone unit rows."""
        count = self.counts.get(kind, 0)
        for number, start in enumerate(range(0, count, BLOCK)):
            random = generator(f"{self.name}/{kind}/{number}")
            yield mixtures(self.pools[kind], min(BLOCK, count - start), random)


NONE = Distractors("", {}, {})


def mixtures(pool: Sequence[Floats], count: int, random: np.random.Generator) -> Block:
    """`count` mixtures, per backbone float32[count, d]. Raises `ValueError` for a pool of fewer than two items."""
    size = len(pool[0])
    if size < 2:
        raise ValueError("two items are mixed; there is no second one")
    first = random.integers(0, size, count)
    second = (first + random.integers(1, size, count)) % size
    part = random.uniform(0, MOST_OF_SECOND, (count, 1)).astype(np.float32)
    return [_mixed(rows, first, second, part, random) for rows in pool]


def _mixed(
    rows: Floats,
    first: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
    second: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
    part: Floats,
    random: np.random.Generator,
) -> Floats:
    noise = unit_rows(random.standard_normal((len(first), rows.shape[1]), dtype=np.float32))
    return unit_rows((1 - part) * rows[first] + part * rows[second] + np.float32(NOISE) * noise)
