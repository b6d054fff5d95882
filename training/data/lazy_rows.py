"""Rows of sources too large for memory: chosen by split, as `assign_splits` does, and read one by one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.digests import KEY, Keys
from training.data.row_index import ALONE, IndexedFile, index_sources
from training.data.rows import DataError
from training.data.sources import DataDirs, available_sources
from training.data.splits import CALIBRATE_SHARE, FIT_SHARE, RESERVED_SOURCES, Split
from training.distributed import World

SPLITS = (Split.TOWER_TRAIN, Split.FIT, Split.CALIBRATE, Split.TEST)


@dataclass(frozen=True)
class Texts:
    """What is said of one picture, as `Samples` has it."""

    captions: tuple[str, ...]
    label: str | None


@dataclass(frozen=True, eq=False)
class LazyRows:
    """n rows whose pictures are read when they are asked for.

    files: they lie in; where: int32[n, 2], for each row the number of its file and its row there; digests: the first
    half of each. Pictures in tar files stay there, 40 bytes of memory for each; those of Parquet files are kept as they
    are encoded (`encoded`, by file), since Parquet files cannot be read at a place.
    """

    files: tuple[IndexedFile, ...]
    where: npt.NDArray[np.int32]
    digests: Keys
    encoded: dict[int, dict[int, bytes]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.where)

    @property
    def sources(self) -> tuple[str, ...]:
        """Of the files that any of the rows lies in."""
        return tuple(dict.fromkeys(self.files[number].source for number in np.unique(self.where[:, 0]).tolist()))

    def picture(self, number: int) -> bytes:
        """The encoded picture of a row. Raises `DataError` if its file has changed or gone."""
        at, row = (int(each) for each in self.where[number])
        if at in self.encoded:
            return self.encoded[at][row]
        with self.files[at].opened() as index:
            start, length = (int(index.column(name)[row].as_py()) for name in ("start", "length"))
        return self.files[at].picture(start, length, self.digests[number].decode())

    def file_of(self, number: int) -> Path:
        """Where a row's picture lies."""
        return self.files[int(self.where[number, 0])].path

    def texts(self, number: int) -> Texts:
        """What is said of a row's picture."""
        at, row = self.where[number].tolist()
        with self.files[at].opened() as index:
            return Texts(tuple(index.column("captions")[row].as_py()), index.column("label")[row].as_py())

    def without(self, unwanted: Keys) -> "LazyRows":
        """Those rows whose digests are not among `unwanted`."""
        keep = ~np.isin(self.digests, unwanted)
        return LazyRows(self.files, self.where[keep], self.digests[keep], self.encoded)


def choose_rows(
    data: DataDirs,
    splits: Collection[Split],
    sources: Sequence[str],
    cache: Path,
    *,
    world: World = ALONE,
    progress: bool = False,
) -> LazyRows:
    """The rows of `splits` and `sources` that have a text, in the order of the files.

    Every source in `data` is looked at for duplicates, as `load_samples` does. Raises `DataError` when there are none.
    """
    everything = available_sources(data)
    wanted = tuple(dict.fromkeys(sources)) or everything
    missing = [source for source in wanted if source not in everything]
    if missing:
        raise DataError(f'there is no source "{missing[0]}" here; there are {", ".join(everything)}')
    files = index_sources(data, everything, cache, world=world, progress=progress)
    found = _Found.of(files)
    chosen = found.in_splits(splits) & found.worded & np.isin(found.where[:, 0], _numbers(files, wanted))
    if not chosen.any():
        raise DataError(f"no row with a text in split {', '.join(splits)} of {', '.join(wanted)}")
    rows = LazyRows(files, found.where[chosen], found.digests[chosen])
    rows.encoded.update(_pictures_of(rows))
    return rows


def _numbers(files: Sequence[IndexedFile], sources: Collection[str]) -> list[int]:
    return [number for number, file in enumerate(files) if file.source in sources]


@dataclass(frozen=True, eq=False)
class _Found:
    """All rows there are. worded: whether there is any text; reserved: whether a reserved source has the picture."""

    where: npt.NDArray[np.int32]
    digests: Keys
    test: npt.NDArray[np.bool_]
    worded: npt.NDArray[np.bool_]
    reserved: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, files: Sequence[IndexedFile]) -> "_Found":
        parts = [_read_index(number, file) for number, file in enumerate(files)]
        where, digests, test, worded, reserved = (np.concatenate(each) for each in zip(*parts, strict=True))
        return cls(where, digests, test, worded, np.isin(digests, digests[reserved]))

    def in_splits(self, splits: Collection[Split]) -> npt.NDArray[np.bool_]:
        """bool[n]: which rows belong to any of `splits`, see `assign_splits`."""
        assigned = splits_of(self.digests, test=self.test, reserved=self.reserved)
        wanted = np.isin(assigned, [SPLITS.index(split) for split in splits])
        dropped = ~self.test & np.isin(self.digests, self.digests[self.test])
        return np.asarray(wanted & ~dropped)


def _read_index(number: int, file: IndexedFile) -> tuple[npt.NDArray[np.generic], ...]:
    with file.opened() as index:
        rows = index.num_rows
        captions, label = index.column("captions"), index.column("label")
        worded = (captions.value_lengths().to_numpy(zero_copy_only=False) > 0) | label.is_valid().to_numpy(
            zero_copy_only=False
        )
        return (
            np.stack([np.full(rows, number), np.arange(rows)], axis=1).astype(np.int32),
            np.array(index.column("digest").to_pylist(), KEY),
            index.column("test").to_numpy(zero_copy_only=False),
            worded,
            np.full(rows, file.source in RESERVED_SOURCES),
        )


def splits_of(digests: Keys, *, test: npt.NDArray[np.bool_], reserved: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """int64[n], places in `SPLITS`: `split_of` of many images at once."""
    heads = digests.astype("S16").tobytes()
    position = np.frombuffer(bytes.fromhex(heads.decode()), ">u8").astype(np.float64) / 2.0**64
    calibrate = position < CALIBRATE_SHARE
    fit = (position < CALIBRATE_SHARE + FIT_SHARE) | reserved
    places = np.where(fit, SPLITS.index(Split.FIT), SPLITS.index(Split.TOWER_TRAIN))
    places = np.where(calibrate, SPLITS.index(Split.CALIBRATE), places)
    return np.where(test, SPLITS.index(Split.TEST), places)


def _pictures_of(rows: LazyRows) -> dict[int, dict[int, bytes]]:
    """What of Parquet files is kept in memory: by file, by row."""
    found: dict[int, dict[int, bytes]] = {}
    for number in np.unique(rows.where[:, 0]).tolist():
        file = rows.files[number]
        if not file.packed:
            wanted = set(rows.where[rows.where[:, 0] == number, 1].tolist())
            found[number] = _encoded_of(file.path, wanted)
    return found


def _encoded_of(path: Path, wanted: set[int]) -> dict[int, bytes]:
    kept: dict[int, bytes] = {}
    first = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=["image"]):
                column = batch.column(0)
                kept |= {row: column[row - first].as_py() for row in range(first, first + len(column)) if row in wanted}
                first += len(column)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return kept
