"""Checking built data as it lies on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.data.builders.catalogue import SOURCES
from training.data.builders.manifest import MANIFEST, read_manifest
from training.data.builders.near_copies import thumbnails
from training.data.builders.packages import sha256_of
from training.data.builders.pictures import Picture, Source
from training.data.builders.separate import conflicts, shared_concepts
from training.data.builders.write import read_pictures
from training.data.rows import DataError
from training.data.sources import available_sources, read_rows

_MOST_NAMED = 5


def check(folder: Path) -> list[str]:
    """What is wrong with the data in `folder`, one sentence each.

    Every built source must be the file that the manifest names, and no digest, near copy or held-out concept may be
    both in a train and in a test row. Digests are compared with all other sources in the folder as well. Raises
    `DataError` when nothing has been built there.
    """
    entries = {name: entry for name, entry in read_manifest(folder).items() if name in SOURCES}
    if not entries:
        raise DataError(f"{folder}: no {MANIFEST} of built sources here")
    changed = [name for name, entry in entries.items() if not _is_file(folder / entry["file"], entry["sha256"])]
    if changed:
        return [f"{name}.parquet is missing or not the file that {MANIFEST} names" for name in changed]
    sources = {name: SOURCES[name] for name in entries}
    pictures = {name: read_pictures(folder / f"{name}.parquet") for name in sources}
    return [
        *_equal_pictures(folder),
        *_near_copies(sources, pictures),
        *_listed("held-out concept in a train row", shared_concepts(sources, pictures)),
    ]


def _is_file(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _listed(what: str, where: Sequence[str]) -> list[str]:
    if not where:
        return []
    more = f" and {len(where) - _MOST_NAMED} more" if len(where) > _MOST_NAMED else ""
    return [f"{what}: {', '.join(where[:_MOST_NAMED])}{more}"]


def _equal_pictures(folder: Path) -> list[str]:
    train: dict[str, str] = {}
    test: dict[str, str] = {}
    for row in read_rows(folder, available_sources(folder)):
        (test if row.test else train).setdefault(row.digest, row.source)
    shared = [f"{train[digest]} and {test[digest]} ({digest[:12]})" for digest in sorted(train.keys() & test.keys())]
    return _listed("equal picture in a train and a test row", shared)


def _near_copies(sources: Mapping[str, Source], pictures: Mapping[str, Sequence[Picture]]) -> list[str]:
    found = []
    for pool in {source.pool: None for source in sources.values() if source.pool is not None}:
        members = [name for name, source in sources.items() if source.pool == pool]
        views = {name: thumbnails([one.image for one in pictures[name]]) for name in members}
        tests = {name: np.array([one.test for one in pictures[name]], dtype=bool) for name in members}
        for name in members:
            for i, other, j in conflicts(sources[name], views, tests):
                found.append(f"{name} {pictures[name][i].name} and {other} {pictures[other][j].name}")
    return _listed("near copy of a held-out picture in a train row", found)
