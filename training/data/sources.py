"""Sources on disk: folders of files, one source in each file or in several shards.

A source is one Parquet file `<source>.parquet` (`training.data.parquet`), or the WebDataset shards `<source>.tar` or
`<source>-<number>.tar` (`training.data.webdataset`).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.parquet import read_parquet
from training.data.rows import DataError, Row
from training.data.webdataset import read_shard

SHARD = re.compile(r"(?P<source>.+?)(-\d+)?\.tar")

DataDirs = Path | Sequence[Path]
"""One folder of such files, or several that are read as one."""


def source_files(data_dir: DataDirs) -> dict[str, tuple[Path, ...]]:
    """The files of every source, by name, sorted.

    Raises `DataError` for a folder without any, and for a source that lies in two places or in two kinds of file.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for folder in [data_dir] if isinstance(data_dir, Path) else data_dir:
        files = _files_in(folder)
        if not files:
            raise DataError(f"{folder}: no *.parquet or *.tar file here")
        for name in sorted(files.keys() & found.keys()):
            raise DataError(f"{files[name][0]}: {found[name][0]} is a source of the same name")
        found |= files
    return dict(sorted(found.items()))


def _files_in(folder: Path) -> dict[str, tuple[Path, ...]]:
    files = {path.stem: (path,) for path in sorted(folder.glob("*.parquet"))}
    shards: dict[str, tuple[Path, ...]] = {}
    for path in sorted(folder.glob("*.tar")):
        match = SHARD.fullmatch(path.name)
        name = path.stem if match is None else match["source"]
        shards[name] = (*shards.get(name, ()), path)
    for name in sorted(files.keys() & shards.keys()):
        raise DataError(f"{shards[name][0]}: {files[name][0]} is a source of the same name")
    return files | shards


def available_sources(data_dir: DataDirs) -> tuple[str, ...]:
    """Names of the sources in `data_dir`, sorted. Raises `DataError` if there are none, or two of one name."""
    return tuple(source_files(data_dir))


def read_rows(data_dir: DataDirs, sources: Sequence[str]) -> Iterator[Row]:
    """Every row of the named sources, file by file, in file order.

    Raises `DataError` for a missing file and for rows that lack what they need.
    """
    files = source_files(data_dir)
    for source in sources:
        if source not in files:
            raise DataError(f"{source}.parquet: no such file (sources here: {', '.join(files)})")
        for path in files[source]:
            yield from read_parquet(path) if path.suffix == ".parquet" else read_shard(path, source)
