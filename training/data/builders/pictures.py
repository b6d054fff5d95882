"""What a source yields, and what a source is."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.data.builders.packages import Package


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture on its way into a Parquet file.

    `image` holds encoded bytes, `name` its file (or file and position) in the package, `concept` what a split by
    meaning must keep together (null where the split goes by picture), `extra` further facts for the `extra` column.
    """

    image: bytes
    captions: tuple[str, ...]
    label: str | None
    test: bool
    name: str
    concept: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


Dropped = Counter[str]
"""Number of pictures left out, by the reason."""

Folders = Mapping[str, Path]
"""Where each package is unpacked, by the package's name."""


@dataclass(frozen=True)
class Source:
    """A source that can be built.

    `read` yields the pictures in a fixed order and counts what it leaves out.

    pool: sources of one pool are compared for near copies (null: none are looked for, because among these pictures
    likeness is no sign of a copy). alike_within: likeness of its own train and test rows is the task, so these are not
    compared. broad_labels: very different things share a label, see `training.data.rows.Row`. withholds_from:
    sources whose train rows must not show a concept of this source's test rows either.
    """

    name: str
    packages: tuple[Package, ...]
    licence: str
    attribution: str
    read: Callable[[Folders, Dropped], Iterator[Picture]]
    pool: str | None = None
    alike_within: bool = False
    broad_labels: bool = False
    withholds_from: tuple[str, ...] = ()
