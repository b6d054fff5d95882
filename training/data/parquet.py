"""Rows of image-text data in Parquet files.

One file per source, named `<source>.parquet`, with the columns `image` (an encoded picture), `captions` (list of
strings), `label` (string or null), `split` (`train` or `test`) and `source`. Other columns are ignored.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

COLUMNS = ("image", "captions", "label", "split", "source")


class DataError(ValueError):
    """The data on disk cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with its texts as it lies on disk.

    `image` holds encoded bytes (WebP, JPEG, PNG), `digest` the sha256 of those bytes in hex, `test` whether the file
    marks the row as a test row.
    """

    image: bytes
    digest: str
    captions: tuple[str, ...]
    label: str | None
    source: str
    test: bool


def available_sources(data_dir: Path) -> tuple[str, ...]:
    """Names of the sources in `data_dir`, sorted. Raises `DataError` if there are none."""
    names = tuple(sorted(path.stem for path in data_dir.glob("*.parquet")))
    if not names:
        raise DataError(f"{data_dir}: no *.parquet file here")
    return names


def read_rows(data_dir: Path, sources: Sequence[str]) -> Iterator[Row]:
    """Every row of the named sources, file by file, in file order.

    Raises `DataError` for a missing file, a missing column or a `split` other than `train` and `test`.
    """
    for source in sources:
        path = data_dir / f"{source}.parquet"
        if not path.is_file():
            raise DataError(f"{path}: no such file (sources here: {', '.join(available_sources(data_dir))})")
        yield from _read_file(path)


def _read_file(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        missing = set(COLUMNS) - set(file.schema_arrow.names)
        if missing:
            raise DataError(f"{path}: missing columns {', '.join(sorted(missing))}")
        for batch in file.iter_batches(batch_size=1024, columns=list(COLUMNS)):
            for record in batch.to_pylist():
                if record["split"] not in ("train", "test"):
                    raise DataError(f"{path}: split {record['split']!r} is neither 'train' nor 'test'")
                yield Row(
                    image=record["image"],
                    digest=hashlib.sha256(record["image"]).hexdigest(),
                    captions=tuple(record["captions"]),
                    label=record["label"],
                    source=record["source"],
                    test=record["split"] == "test",
                )
