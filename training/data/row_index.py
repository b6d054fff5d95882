"""Where the pictures of a source lie and what is said of them, so that any of millions is read when it is needed.

An index is one Arrow file for each file of a source, kept in a cache folder: digest, texts, whether it is a test row;
for WebDataset shards also where in the tar file the picture begins, and how long it is. It is mapped into memory, so
that processes share it and the system may drop what it does not look at. Making one reads the whole file once, for the
digests; a file that has changed gets a new one.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm
from webdataset.tariterators import group_by_keys

from training.data.parquet import read_parquet
from training.data.rows import DataError, Row
from training.data.sources import DataDirs, source_files
from training.data.webdataset import readable, row_of_sample
from training.distributed import World

FORMAT = "1"
SCHEMA = pa.schema(
    [
        pa.field("digest", pa.string(), nullable=False),
        pa.field("test", pa.bool_(), nullable=False),
        pa.field("captions", pa.list_(pa.string()), nullable=False),
        pa.field("label", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("length", pa.int64()),
    ]
)
ALONE = World()


@dataclass(frozen=True)
class IndexedFile:
    """One file of a source, and its index."""

    source: str
    path: Path
    index: Path

    @property
    def packed(self) -> bool:
        """Whether pictures lie in it as they are, to be read from where they begin."""
        return self.path.suffix == ".tar"

    @contextmanager
    def opened(self) -> Iterator[pa.RecordBatch]:
        """The index, for as long as it is needed. Raises `DataError` if it cannot be read."""
        try:
            with pa.memory_map(str(self.index)) as file:
                yield pa.ipc.open_file(file).get_batch(0)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.index}: not an index of rows; remove it ({error})") from error

    def picture(self, start: int, length: int, digest: str) -> bytes:
        """The encoded picture in a tar file, whose sha256 in hex begins with `digest`.

        Raises `DataError` if the file has gone or has changed.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                found = file.read(length)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        if len(found) != length:
            raise DataError(f"{self.path}: ends before the picture at {start}; it has changed since it was indexed")
        if not hashlib.sha256(found).hexdigest().startswith(digest):
            raise DataError(f"{self.path}: has another picture at {start}; it has changed since it was indexed")
        return found


class Placed(bytes):
    """The content of a file in a tar file, which knows where it begins there."""

    start: int


def index_sources(
    data: DataDirs, sources: Sequence[str], cache: Path, *, world: World = ALONE, progress: bool = False
) -> tuple[IndexedFile, ...]:
    """The files of the named sources, indexed in the folder `cache`. Processes of a `world` share the work.

    Raises `DataError` for a source that is not there, and for rows that lack what they need.
    """
    files = source_files(data)
    for source in sources:
        if source not in files:
            raise DataError(f'there is no source "{source}" here; there are {", ".join(files)}')
    found = tuple(
        IndexedFile(source, path, cache / f"{path.stem}-{_state_of(path)}.arrow")
        for source in sources
        for path in files[source]
    )
    # Shared out before looking: processes do not begin at the same moment.
    missing = [each for each in found[world.rank :: world.size] if not each.index.exists()]
    cache.mkdir(parents=True, exist_ok=True)
    for each in tqdm(missing, desc="index", unit="file", disable=not progress or not missing):
        _write_index(each)
    world.wait()
    return found


def _state_of(path: Path) -> str:
    """What changes when the file does."""
    about = path.stat()
    said = f"{FORMAT} {path.resolve()} {about.st_size} {about.st_mtime_ns}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _write_index(file: IndexedFile) -> None:
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for row in read_placed(file.path, file.source) if file.packed else read_parquet(file.path):
        start = row.image.start if isinstance(row.image, Placed) else None
        # A broad label says less than the captions (see `Row`).
        label = None if row.broad else row.label
        said = (row.digest, row.test, list(row.captions), label, start, None if start is None else len(row.image))
        for column, value in zip(columns.values(), said, strict=True):
            column.append(value)
    partial = file.index.with_name(f"{file.index.name}.{os.getpid()}.partial")
    with pa.OSFile(str(partial), "wb") as out, pa.ipc.new_file(out, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    os.replace(partial, file.index)


def read_placed(path: Path, source: str) -> Iterator[Row]:
    """The rows of a shard as `read_shard` gives them; their images are `Placed`. Raises `DataError`."""
    with readable(path), tarfile.open(path, "r:") as tar:
        for sample in group_by_keys(_contents(tar, path)):
            yield row_of_sample(path, source, sample)


def _contents(tar: tarfile.TarFile, path: Path) -> Iterator[dict[str, object]]:
    """What webdataset's reader gives of an open file, with places."""
    ends = path.stat().st_size
    for member in tar:
        name = member.name
        # Its own notes, and what older ones of its writers left.
        if not member.isreg() or name.split("/")[0].startswith("__"):
            continue
        if member.issparse():
            raise tarfile.ReadError(f"{name} is sparse")
        if member.offset_data + member.size > ends:  # which may claim more than memory holds
            raise tarfile.ReadError("unexpected end of data")
        content = tar.extractfile(member)
        if content is None:
            continue
        data = Placed(content.read())
        data.start = member.offset_data
        if len(data) != member.size:
            raise tarfile.ReadError("unexpected end of data")
        tar.members.clear()  # type: ignore[attr-defined]  # which is missing in the stubs; it would grow
        yield {"fname": name, "data": data, "__url__": str(path)}
