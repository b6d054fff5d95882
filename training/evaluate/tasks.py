"""Zero-shot tasks and retrieval sets from rows of image-text data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.data.parquet import Row
from training.data.splits import RESERVED_SOURCES, Split, assign_splits

Novelty = Literal["seen classes", "unseen source"]

# The most frequent class may have this many times the images of the rarest before plain accuracy misleads.
BALANCED_RATIO = 2.0


@dataclass(frozen=True)
class Task:
    """A labelled split of one source. `truth`: int64[n], positions in `classes`, of `rows` in the same order."""

    source: str
    novelty: Novelty
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    truth: npt.NDArray[np.int64]

    @property
    def balanced(self) -> bool:
        """Whether plain accuracy is fair to every class; if not, balanced accuracy is reported."""
        counts = np.bincount(self.truth, minlength=len(self.classes))
        return bool(counts.max() <= BALANCED_RATIO * max(1, counts.min()))


def novelty_of(source: str) -> Novelty:
    """Whether towers have seen the classes of a source in training, or nothing of the source at all."""
    return "unseen source" if source in RESERVED_SOURCES else "seen classes"


def labelled_tasks(rows: Iterable[Row], split: Split) -> tuple[Task, ...]:
    """One task per source that has labels in `split`, by source name.

    The classes are all that a source's labelled rows name in any split. Pass the rows of every source together.
    """
    classes: dict[str, set[str]] = {}
    chosen: dict[str, list[Row]] = {}
    for row, assigned in assign_splits(rows):
        if row.label is None:
            continue
        classes.setdefault(row.source, set()).add(row.label)
        if assigned is split:
            chosen.setdefault(row.source, []).append(row)
    return tuple(_task(source, sorted(classes[source]), chosen[source]) for source in sorted(chosen))


def _task(source: str, classes: Sequence[str], rows: Sequence[Row]) -> Task:
    position = {label: i for i, label in enumerate(classes)}
    truth = np.array([position[row.label] for row in rows if row.label is not None], dtype=np.int64)
    return Task(source, novelty_of(source), tuple(classes), tuple(rows), truth)


@dataclass(frozen=True)
class RetrievalSet:
    """Pictures with captions of their own. `captions[i]` all describe `rows[i]`."""

    source: str
    novelty: Novelty
    rows: tuple[Row, ...]

    @property
    def captions(self) -> list[str]:
        """All captions, picture by picture."""
        return [caption for row in self.rows for caption in row.captions]

    @property
    def owner(self) -> npt.NDArray[np.int64]:
        """int64[captions], the position of each caption's picture."""
        return np.repeat(np.arange(len(self.rows)), [len(row.captions) for row in self.rows])


def retrieval_sets(rows: Iterable[Row], split: Split) -> tuple[RetrievalSet, ...]:
    """One set per source whose rows have captions and no labels, by source name."""
    chosen: dict[str, list[Row]] = {}
    for row, assigned in assign_splits(rows):
        if assigned is split and row.label is None and row.captions:
            chosen.setdefault(row.source, []).append(row)
    return tuple(RetrievalSet(source, novelty_of(source), tuple(chosen[source])) for source in sorted(chosen))
