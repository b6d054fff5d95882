"""Keeping test rows apart from train rows: no equal picture, no near copy, no held-out concept on both sides."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from training.data.builders.near_copies import THRESHOLD, nearest, thumbnails
from training.data.builders.pictures import Dropped, Picture, Source
from training.data.splits import RESERVED_SOURCES

EQUAL: Final = "equal to an earlier picture"


def without_repeats(pictures: Sequence[Picture], dropped: Dropped) -> list[Picture]:
    """One picture of each that have equal bytes: the test row where there is one, else the first."""
    keep: dict[bytes, Picture] = {}
    for picture in sorted(pictures, key=lambda picture: not picture.test):
        keep.setdefault(picture.image, picture)
    kept = [picture for picture in pictures if keep[picture.image] is picture]
    if len(kept) < len(pictures):
        dropped[EQUAL] += len(pictures) - len(kept)
    return kept


def conflicts(
    source: Source, views: Mapping[str, npt.NDArray[np.float32]], tests: Mapping[str, npt.NDArray[np.bool_]]
) -> list[tuple[int, str, int]]:
    """Train rows of `source` that are near copies of held-out rows: (position, the other source, position there).

    `views` and `tests` hold thumbnails and test marks of the whole pool. Held out are every source's test rows, and for
    a source that trains towers all rows of the reserved ones.
    """
    train = np.flatnonzero(~tests[source.name])
    found: dict[int, tuple[str, int]] = {}
    for name, view in views.items():
        if name == source.name and source.alike_within:
            continue
        reserved = name in RESERVED_SOURCES and source.name not in RESERVED_SOURCES
        held = np.arange(len(view)) if reserved else np.flatnonzero(tests[name])
        best, where = nearest(views[source.name][train], view[held])
        for i in np.flatnonzero(best > THRESHOLD):
            found.setdefault(int(train[i]), (name, int(held[where[i]])))
    return [(position, *other) for position, other in sorted(found.items())]


def separate(
    pool: Mapping[str, tuple[Source, list[Picture]]], dropped: Mapping[str, Dropped]
) -> dict[str, list[Picture]]:
    """The pictures of a pool without train rows that are near copies of held-out ones, which `dropped` counts."""
    views = {name: thumbnails([picture.image for picture in pictures]) for name, (_, pictures) in pool.items()}
    tests = {name: np.array([one.test for one in pictures], dtype=bool) for name, (_, pictures) in pool.items()}
    result = {}
    for name, (source, pictures) in pool.items():
        close = conflicts(source, views, tests)
        for _, other, _ in close:
            dropped[name][f"near copy of a held-out picture of {other}"] += 1
        gone = {position for position, _, _ in close}
        result[name] = [picture for i, picture in enumerate(pictures) if i not in gone]
    return result


def shared_concepts(sources: Mapping[str, Source], pictures: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Held-out concepts that a train row shows all the same, as "SOURCE: CONCEPT"."""
    found = []
    for name, source in sources.items():
        held = {one.concept for one in pictures.get(name, ()) if one.test and one.concept is not None}
        for other in (name, *source.withholds_from):
            shown = {one.concept for one in pictures.get(other, ()) if not one.test}
            found += [f"{other}: {concept}" for concept in sorted(held & shown - {None})]
    return found
