"""Zero-shot tasks and retrieval sets from rows of image-text data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.data.rows import Row
from training.data.splits import RESERVED_SOURCES, Split, assign_splits

Novelty = Literal["seen classes", "unseen concepts", "unseen classes", "seen source", "unseen source"]
"""What training rows show of a task, decided from the data:

- seen classes: other pictures of the same classes;
- unseen concepts: the classes, but none of the concepts that the source keeps on one side of its split;
- unseen classes: the source, but none of the classes;
- seen source: of a retrieval set, other pictures with other captions;
- unseen source: nothing at all, the source is reserved.
"""

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


def novelty_of(source: str, rows: Sequence[Row], training: Sequence[Row]) -> Novelty:
    """What `training`, a source's training rows, show of `rows`, its labelled rows of another split."""
    if source in RESERVED_SOURCES:
        return "unseen source"
    if not {row.label for row in rows} & {row.label for row in training}:
        return "unseen classes"
    concepts = {row.concept for row in rows}
    if None in concepts or concepts & {row.concept for row in training}:
        return "seen classes"
    return "unseen concepts"


def labelled_tasks(rows: Iterable[Row], split: Split) -> tuple[Task, ...]:
    """One task per source that has labels in `split`, by source name. Pass the rows of every source together.

    The classes are all that a source's labelled rows name in any split; where no class of the split was trained on,
    they are the split's own (towers lean towards names that they have seen, and nobody would offer those here).
    """
    labelled: dict[str, list[tuple[Row, Split]]] = {}
    for row, assigned in assign_splits(rows):
        if row.label is not None:
            labelled.setdefault(row.source, []).append((row, assigned))
    return tuple(
        _task(source, labelled[source], split)
        for source in sorted(labelled)
        if any(assigned is split for _, assigned in labelled[source])
    )


def _task(source: str, labelled: Sequence[tuple[Row, Split]], split: Split) -> Task:
    rows = [row for row, assigned in labelled if assigned is split]
    novelty = novelty_of(source, rows, [row for row, assigned in labelled if assigned is Split.TOWER_TRAIN])
    named = rows if novelty == "unseen classes" else [row for row, _ in labelled]
    classes = tuple(sorted({row.label for row in named if row.label is not None}))
    position = {label: i for i, label in enumerate(classes)}
    truth = np.array([position[row.label] for row in rows if row.label is not None], dtype=np.int64)
    return Task(source, novelty, classes, tuple(rows), truth)


def retrieval_sets(rows: Iterable[Row], split: Split) -> tuple[RetrievalSet, ...]:
    """One set per source whose rows have captions and never labels, by source name."""
    assigned_rows = assign_splits(rows)
    labelled = {row.source for row, _ in assigned_rows if row.label is not None}
    chosen: dict[str, list[Row]] = {}
    for row, assigned in assigned_rows:
        if assigned is split and row.source not in labelled and row.captions:
            chosen.setdefault(row.source, []).append(row)
    return tuple(_retrieval_set(source, chosen[source]) for source in sorted(chosen))


def _retrieval_set(source: str, rows: Sequence[Row]) -> RetrievalSet:
    return RetrievalSet(source, "unseen source" if source in RESERVED_SOURCES else "seen source", tuple(rows))
