"""What every section of the committee suite reads: each labelled task's pictures as the zoo sees them, in three pools.

`fit` is what shots are drawn from, `calibrate` what cascades are calibrated on, `test` what everybody is scored on:
the splits of `training.data.splits`. Axes: b backbones in the zoo's order, n pictures, c classes, d width of one
backbone's embedding.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from service.pipeline.controller.examples import Examples, make_examples
from service.pipeline.logits import Floats, backbone_logits, cosines
from service.repository import Zoo
from training.data.rows import Row
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split, assign_splits
from training.evaluate.members import Member, Pictures
from training.evaluate.prompts import kind_of, templates_of
from training.evaluate.provenance import trained_sources
from training.evaluate.tasks import BALANCED_RATIO, Task, labelled_tasks
from training.evaluate.zero_shot import class_matrix

Integers = npt.NDArray[np.int64]

MOST_TEST = 2000
"""Test pictures of one task. More would narrow its interval by little and cost every section as much again."""

MOST_OTHERS = 4000
"""Pictures of a task's `fit` and of its `calibrate` pool."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Pictures of one task. `embeddings`: per backbone unit rows float32[n, d]; `logits`: float32[n, b, c], scaled and
    divided by the backbones' temperatures by the gateway's own functions; `truth`: int64[n], positions of classes;
    `rows`: what lies on disk, with the bytes. No two rows are the same picture."""

    embeddings: tuple[Floats, ...]
    logits: Floats
    truth: Integers
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, positions: Sequence[int] | npt.NDArray[np.integer]) -> "Pool":
        """Some of the pictures, by position, in the order given."""
        places = np.asarray(positions, dtype=np.int64)
        rows = tuple(self.rows[place] for place in places)
        return Pool(tuple(each[places] for each in self.embeddings), self.logits[places], self.truth[places], rows)

    def examples(self, names: Sequence[str]) -> Examples:
        """As labelled examples for the gateway's fits; `names` are those of the backbones, in the zoo's order.

        Examples put pictures in the order of their digests and backbones in that of their names. Raises
        `InvalidExamplesError` for an empty pool.
        """
        digests = [row.digest for row in self.rows]
        return make_examples(names, self.embeddings, self.logits.transpose(1, 0, 2), self.truth, digests)


@dataclass(frozen=True)
class Dropped:
    """Rows of a task's splits that are in no pool. `disputed`: their picture carries two labels; `repeated`: the same
    picture again; `other_classes`: fit and calibrate rows of classes that the task does not ask for."""

    disputed: int
    repeated: int
    other_classes: int


@dataclass(frozen=True, eq=False)
class TaskPools:
    """One labelled task. `picture`: the kind, a key of `prompts.TEMPLATES`; `trained_on`: by backbone whether its
    training saw the source, null where its provenance does not say; `balanced`: whether plain accuracy is fair to every
    class (if not, balanced accuracy is to be reported); `class_embeddings`: per backbone unit rows float32[c, d];
    `scales`: per backbone logit scale over temperature, and `temperatures`; `gflops`: per backbone and picture;
    `test_pictures`: how many
    the test split has, of which `test` holds an even spread."""

    source: str
    picture: str
    novelty: str
    balanced: bool
    backbones: tuple[str, ...]
    gflops: tuple[float, ...]
    trained_on: dict[str, bool | None]
    classes: tuple[str, ...]
    class_embeddings: tuple[Floats, ...]
    scales: tuple[float, ...]
    temperatures: tuple[float, ...]
    templates: tuple[str, ...]
    fit: Pool
    calibrate: Pool
    test: Pool
    test_pictures: int
    dropped: Dropped

    @cached_property
    def digest(self) -> str:
        """sha256 in hex of everything that a measurement on this task can depend on."""
        digest = hashlib.sha256(
            repr((self.source, self.backbones, self.gflops, self.classes, self.scales, self.temperatures)).encode()
        )
        for rows in self.class_embeddings:
            digest.update(rows.tobytes())
        for pool in (self.fit, self.calibrate, self.test):
            digest.update(repr([row.digest for row in pool.rows]).encode())
            digest.update(pool.truth.tobytes())
            for array in (*pool.embeddings, pool.logits):
                digest.update(array.tobytes())
        return digest.hexdigest()


def open_pools(
    data: DataDirs,
    zoo: Zoo,
    members: Sequence[Member],
    progress: Callable[[str], None],
    *,
    most_test: int = MOST_TEST,
    most_others: int = MOST_OTHERS,
) -> tuple[TaskPools, ...]:
    """Every labelled task in `data` as `members`, the zoo's backbones in its order, see it; by source name.

    Raises `DataError`.
    """
    if tuple(member.name for member in members) != zoo.names:
        raise ValueError("pools are of a whole zoo, in its order")
    rows = list(read_rows(data, available_sources(data)))
    tasks = labelled_tasks(rows, Split.TEST)
    others = _other_rows(rows, {task.source for task in tasks})
    found = []
    for task in tasks:
        progress(f"{task.source}: {len(task.rows)} test pictures, {len(task.classes)} classes")
        found.append(_open(task, others[task.source], zoo, members, most_test, most_others))
    return tuple(found)


def novelty_of_zoo(novelty: str, trained_on: dict[str, bool | None]) -> str:
    """A source that could have been trained on but was not, by any of these backbones, is an unseen one."""
    return "unseen source" if all(seen is False for seen in trained_on.values()) else novelty


def spread(truth: Integers, most: int) -> Integers:
    """At most `most` positions, ascending, evenly spread over the pictures in order of their classes: int64[m]."""
    if len(truth) <= most:
        return np.arange(len(truth))
    order = np.argsort(truth, kind="stable")
    return np.sort(order[np.linspace(0, len(truth) - 1, most).round().astype(np.int64)])


def _other_rows(rows: Iterable[Row], sources: set[str]) -> dict[str, dict[Split, list[Row]]]:
    """By source and split the labelled rows of `fit` and `calibrate`."""
    found: dict[str, dict[Split, list[Row]]] = {
        source: {Split.FIT: [], Split.CALIBRATE: []} for source in sorted(sources)
    }
    for row, split in assign_splits(rows):
        if row.label is not None and row.source in found and split in found[row.source]:
            found[row.source][split].append(row)
    return found


def _open(
    task: Task,
    others: dict[Split, list[Row]],
    zoo: Zoo,
    members: Sequence[Member],
    most_test: int,
    most_others: int,
) -> TaskPools:
    templates = templates_of(task.source)
    texts = tuple(class_matrix(member.texts, task.classes, templates) for member in members)
    trained = {member.name: trained_sources(member.backbone.image.config.provenance) for member in members}
    trained_on = {name: None if sources is None else task.source in sources for name, sources in trained.items()}
    asked = {split: [row for row in rows if row.label in set(task.classes)] for split, rows in others.items()}
    every = [*task.rows, *asked[Split.FIT], *asked[Split.CALIBRATE]]
    disputed = _disputed(every)
    kept = {split: _kept(rows, disputed) for split, rows in asked.items()}
    # All test rows are embedded, as the zoo suite does: its cache then serves here, and only what is used is kept.
    test, test_pictures = _test_pool(task, members, texts, disputed, most_test)
    pools = {split: _pool(task, _fewer(task, rows, most_others), members, texts) for split, rows in kept.items()}
    left = test_pictures + sum(len(rows) for rows in kept.values())
    twice = sum(row.digest in disputed for row in every)
    return TaskPools(
        source=task.source,
        picture=kind_of(task.source),
        novelty=novelty_of_zoo(task.novelty, trained_on),
        balanced=_balanced(test.truth, len(task.classes)),
        backbones=zoo.names,
        gflops=tuple(backbone.gflops for backbone in zoo.backbones),
        trained_on=trained_on,
        classes=task.classes,
        class_embeddings=texts,
        scales=tuple(backbone.logit_scale / backbone.temperature for backbone in zoo.backbones),
        temperatures=tuple(backbone.temperature for backbone in zoo.backbones),
        templates=templates,
        fit=pools[Split.FIT],
        calibrate=pools[Split.CALIBRATE],
        test=test,
        test_pictures=test_pictures,
        dropped=Dropped(
            disputed=twice,
            repeated=len(every) - twice - left,
            other_classes=sum(map(len, others.values())) - sum(map(len, asked.values())),
        ),
    )


def _balanced(truth: Integers, classes: int) -> bool:
    counts = np.bincount(truth, minlength=classes)
    return bool(counts.max() <= BALANCED_RATIO * max(1, counts.min()))


def _disputed(rows: Sequence[Row]) -> set[str]:
    """Digests of the pictures that carry more than one label."""
    labels = Counter(digest for digest, _ in {(row.digest, row.label) for row in rows})
    return {digest for digest, count in labels.items() if count > 1}


def _kept(rows: Sequence[Row], disputed: set[str]) -> list[Row]:
    """Without disputed pictures, and every picture once: where it comes first."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.digest not in disputed:
            first.setdefault(row.digest, row)
    return list(first.values())


def _fewer(task: Task, rows: Sequence[Row], most: int) -> list[Row]:
    return [rows[place] for place in spread(_truth(task, rows), most)]


def _truth(task: Task, rows: Sequence[Row]) -> Integers:
    position = {label: place for place, label in enumerate(task.classes)}
    return np.array([position[row.label] for row in rows if row.label is not None], dtype=np.int64)


def _pool(task: Task, rows: Sequence[Row], members: Sequence[Member], texts: Sequence[Floats]) -> Pool:
    pictures = Pictures(rows)
    embeddings = tuple(
        member.images(pictures) if rows else np.zeros((0, matrix.shape[1]), dtype=np.float32)
        for member, matrix in zip(members, texts, strict=True)
    )
    logits = [
        backbone_logits(cosines(images, matrix), member.backbone.logit_scale, member.backbone.temperature)
        for images, matrix, member in zip(embeddings, texts, members, strict=True)
    ]
    return Pool(embeddings, np.stack(logits, axis=1), _truth(task, rows), tuple(rows))


def _test_pool(
    task: Task, members: Sequence[Member], texts: Sequence[Floats], disputed: set[str], most: int
) -> tuple[Pool, int]:
    """The spread, and of how many pictures."""
    everything = _pool(task, task.rows, members, texts)
    place = {id(row): at for at, row in enumerate(task.rows)}
    kept = np.array([place[id(row)] for row in _kept(task.rows, disputed)], dtype=np.int64)
    return everything.take(kept[spread(everything.truth[kept], most)]), len(kept)
