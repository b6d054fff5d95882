"""What a gallery is filled with and asked for: made-up embeddings in clusters, and texts that nobody asked before.

An item is in one cluster for all backbones, as a picture shows one thing whoever looks at it; each backbone has its own
centres and its own noise. So an item's neighbours mean something to everybody, and no two backbones agree in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

CLUSTERS = 2_000
NOISE = 0.8
"""Length of the noise beside a centre of length one: two of a cluster have a cosine of about 0.6."""
PERCENT = "percent"
"""The integer field of every item, 0 to 99: `below` 1 is a hundredth of the gallery, `below` 50 is half of it."""
ID_PREFIX = "item-"

WORDS = (
    ("red", "blue", "green", "striped", "spotted", "golden", "grey", "shiny", "worn", "new", "tiny", "huge", "folded"),
    ("cat", "shoe", "apple", "bridge", "dress", "tractor", "bottle", "violin", "carton", "lamp", "horse", "kettle"),
    ("on", "under", "beside", "behind", "inside", "above", "near", "between", "against", "before", "beyond"),
    ("grass", "snow", "sand", "tables", "shelves", "boxes", "trees", "walls", "water", "leaves", "stones", "paper"),
    (
        "at dawn",
        "at noon",
        "at dusk",
        "at night",
        "in rain",
        "in fog",
        "in summer",
        "in winter",
        "up close",
        "far away",
    ),
)


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """`items` float32[n, d] and `queries` float32[q, d], d the sum of the backbones' widths; `places` says whose part
    lies where. Every part has length one. Item i's field `PERCENT` is i mod 100."""

    places: Mapping[str, slice]
    items: Floats
    queries: Floats

    def columns(self, backbones: Sequence[str]) -> slice | NDArray[np.int64]:
        """Where the parts of these backbones lie."""
        if set(backbones) == set(self.places):
            return slice(None)
        return np.concatenate([np.arange(self.places[name].start, self.places[name].stop) for name in backbones])

    def below(self, percent: int) -> Mask:
        """bool[n]: the items whose field is below `percent`."""
        matching: Mask = np.arange(len(self.items)) % 100 < percent
        return matching


def make_vectors(widths: Mapping[str, int], items: int, queries: int, seed: int = 0) -> Vectors:
    """The same arguments give the same numbers. `widths` is in the gallery's order; queries are no items."""
    rng = np.random.default_rng(seed)
    clusters = rng.integers(max(1, min(CLUSTERS, items // 10)), size=items + queries)
    ends = np.cumsum(list(widths.values())).tolist()
    places = {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}
    rows = np.empty((items + queries, ends[-1]), dtype=np.float32)
    for place in places.values():
        rows[:, place] = _part(rng, clusters, place.stop - place.start)
    return Vectors(places, rows[:items], rows[items:])


def text_of(number: int) -> str:
    """A text that no other number gives."""
    words = []
    for choices in WORDS:
        number, turn = divmod(number, len(choices))
        words.append(choices[turn])
    return " ".join([*words, str(number)] if number else words)


def id_of(item: int) -> str:
    return f"{ID_PREFIX}{item:08d}"


def item_of(name: str) -> int:
    return int(name.removeprefix(ID_PREFIX))


def _part(rng: np.random.Generator, clusters: NDArray[np.int64], width: int) -> Floats:
    """float32[n, width], unit rows: a centre and some noise."""
    centres = _unit(rng.standard_normal((int(clusters.max()) + 1, width), dtype=np.float32))
    noise = rng.standard_normal((len(clusters), width), dtype=np.float32)
    noise *= np.float32(NOISE / np.sqrt(width))
    noise += centres[clusters]
    return _unit(noise)


def _unit(rows: Floats) -> Floats:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
