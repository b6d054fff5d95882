"""Labelling images offline: what an expert says of every row, once, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from service.errors import RequestError
from service.model_config import Preprocessing
from service.pipeline.inputs.decode import decode
from service.pipeline.inputs.preprocess import preprocess
from training.data.rows import Row
from training.data.samples import LIMITS
from training.experts.errors import ExpertError
from training.experts.labels.encoding import encode
from training.experts.labels.store import UNDECODED, Description, LabelStore, Outcome, claim_folder, write_part
from training.experts.locks import alone
from training.experts.protocol import Dense, Expert, Pictures, check_maps

BROKEN_AFTER = 16
"""After so many failures in a row a picture that the expert labelled before says whose fault they are."""


@dataclass(frozen=True)
class LabelSettings:
    """How a run goes about it. preprocessing: how pictures are resized and cut, as for the tower that learns from the
    labels; map_size: side of the maps that are kept, of whose places every nearest pixel is taken, 0 for that of the
    pictures; shard: which part of the images, its number from 0 and how many parts there are; part_images: images in a
    file, which is what a kill may cost; retry: try images again on which the expert failed."""

    preprocessing: Preprocessing
    shard: tuple[int, int] = (0, 1)
    batch_size: int = 8
    part_images: int = 256
    retry: bool = False
    map_size: int = 0

    def __post_init__(self) -> None:
        number, count = self.shard
        if not 0 <= number < count:
            raise ExpertError(f"shard {number}/{count}: the number goes from 0 to {count - 1}.")
        if self.batch_size < 1 or self.part_images < 1:
            raise ExpertError("batches and files hold at least one image.")
        if not 0 <= self.map_size <= self.preprocessing.image_size:
            raise ExpertError(f"maps of {self.map_size} pixels of pictures of {self.preprocessing.image_size}.")

    @property
    def kept_size(self) -> int:
        """Side of the maps that are kept, in pixels."""
        return self.map_size or self.preprocessing.image_size


@dataclass
class Tally:
    """Images of a run: labelled, failed, and known from an earlier run (or met twice)."""

    labelled: int = 0
    failed: int = 0
    known: int = 0


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) for "i/n". Raises `ExpertError`."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ExpertError(f'shard "{text}": write the number of the part and how many there are, from 0/4 to 3/4.')
    return int(number), int(count)


def in_shard(digest: str, shard: tuple[int, int]) -> bool:
    """Whether an image belongs to a part; decided by its digest, whatever the order of the rows."""
    return int(digest[:16], 16) % shard[1] == shard[0]


def label_rows(
    rows: Iterable[Row], expert: Expert, folder: Path, settings: LabelSettings, *, progress: bool = False
) -> Tally:
    """Label every row of the shard that has no label in `folder` yet. Progress is shown on standard error.

    What fails on an image is written down and the run goes on. Raises `ExpertError` if the folder holds labels of
    another expert, another process works on the same shard, or the expert breaks its promises or fails on every image,
    from the first or from some later one (a device that was lost): these failures are not written down.
    """
    preprocessing = settings.preprocessing
    claim_folder(folder, Description(expert.identity, preprocessing.geometry, settings.kept_size))
    number, count = settings.shard
    lock = folder / f".part-{number:03d}-of-{count:03d}.lock"
    with alone(lock, f"{folder}: another process labels shard {number}/{count}."):
        work = _Work(expert, folder, settings)
        for row in tqdm(rows, desc=expert.identity.name, unit="img", disable=not progress):
            work.add(row)
        work.finish()
    return work.tally


def shrunk(label: Dense, size: int) -> Dense:
    """One map [h, h] or [h, h, 3] at `size` by `size` places, each the nearest pixel."""
    side = len(label)
    if side == size:
        return label
    at = ((np.arange(size) + 0.5) * side / size).astype(np.int64)
    found: Dense = np.ascontiguousarray(label[at][:, at])
    return found


@dataclass
class _Work:
    """Images on their way: those that wait for a batch, and outcomes that wait for a file."""

    expert: Expert
    folder: Path
    settings: LabelSettings
    tally: Tally = field(default_factory=Tally)
    _known: LabelStore = field(init=False)
    _seen: set[str] = field(init=False)
    """Images whose turn was, in this run; and those on which the expert failed before."""
    _waiting: list[tuple[Row, Pictures]] = field(default_factory=list)
    _done: list[Outcome] = field(default_factory=list)
    _suspected: list[Outcome] = field(default_factory=list)
    """Failures since the last label: of the images, or of the expert."""
    _proven: Row | None = None
    """An image that has a label by this expert."""

    def __post_init__(self) -> None:
        self._known = LabelStore(self.folder)
        self._seen = set() if self.settings.retry else set(self._known.failures)

    def add(self, row: Row) -> None:
        """Take in one row, and do what is due."""
        if not in_shard(row.digest, self.settings.shard):
            return
        if row.digest in self._seen or row.digest in self._known:
            self._proven = row if row.digest in self._known else self._proven
            self.tally.known += 1
            return
        self._seen.add(row.digest)
        try:
            picture = self._picture(row)
        except RequestError as error:
            self._fail(Outcome(row.digest, None, f"{UNDECODED}: {error}"))
        else:
            self._waiting.append((row, picture))
        if len(self._waiting) >= self.settings.batch_size:
            self._label()
        if len(self._done) >= self.settings.part_images:
            self._write()

    def finish(self) -> None:
        """Label and write what is left."""
        self._label()
        self._acquit()
        self._write()

    def _picture(self, row: Row) -> Pictures:
        preprocessing = self.settings.preprocessing
        return preprocess(decode(row.image, LIMITS, preprocessing.image_size), preprocessing)

    def _label(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        images = np.stack([picture for _, picture in batch])
        try:
            maps = self.expert(images)
        except Exception as error:  # an expert may raise anything: one bad picture must not cost its neighbours
            if len(batch) == 1:
                self._refuse(batch[0][0], error)
                return
            for each in batch:
                self._waiting = [each]
                self._label()
            return
        check_maps(maps, images, self.expert.identity)
        for (row, _), label in zip(batch, maps, strict=True):
            self._keep(row, label)

    def _keep(self, row: Row, label: Dense) -> None:
        try:
            encoded = encode(self.expert.identity.kind, shrunk(label, self.settings.kept_size))
        except ExpertError as error:
            self._refuse(row, error)
            return
        self._acquit()
        self._proven = row
        self._done.append(Outcome(row.digest, encoded))
        self.tally.labelled += 1

    def _refuse(self, row: Row, error: Exception) -> None:
        outcome = Outcome(row.digest, None, f"{type(error).__name__}: {error}")
        if row.digest in self._known.failures:  # tried again: what failed before says nothing new of the expert
            self._fail(outcome)
            return
        self._suspected.append(outcome)
        if len(self._suspected) >= BROKEN_AFTER:
            self._judge(error)

    def _judge(self, error: Exception) -> None:
        """Raise `ExpertError` if the expert fails on what it labelled before, too; if not, images are at fault."""
        name = self.expert.identity.name
        if self._proven is None:
            raise ExpertError(f"{name} failed on each of the first {BROKEN_AFTER} images: {error}") from error
        try:
            self.expert(self._picture(self._proven)[None])
        except Exception as again:
            self._write()
            raise ExpertError(
                f"{name} failed on {BROKEN_AFTER} images in a row, then on one that it had labelled: {again}. What it "
                "labelled is kept, and the same command goes on from there."
            ) from again
        self._acquit()

    def _acquit(self) -> None:
        """The expert works: what it failed on are failures of the images."""
        for outcome in self._suspected:
            self._fail(outcome)
        self._suspected = []

    def _fail(self, outcome: Outcome) -> None:
        self._done.append(outcome)
        self.tally.failed += 1

    def _write(self) -> None:
        if self._done:
            write_part(self.folder, self.settings.shard, self._done)
            self._done = []
