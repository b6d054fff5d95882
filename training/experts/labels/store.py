"""Labels on disk: a folder for each expert, with its description and Arrow files of encoded maps.

    FOLDER/expert.json                        which expert, and how pictures were cut before it saw them
    FOLDER/part-000-of-001-00000.arrow        digest of the image, the map or why there is none

Maps are found by the sha256 of the encoded image (`Row.digest`), so that they hold for a picture wherever it lies.
Files appear whole or not at all and are never changed. They are mapped into memory: reading one map touches the pages
that it lies on, where a Parquet file would be read for all of its maps.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter, ValidationError

from training.data.digests import KEY, Keys
from training.experts.errors import ExpertError
from training.experts.labels.encoding import Encoded, decode
from training.experts.protocol import UNKNOWN_CLASS, Dense, Identity, Kind

DESCRIPTION = "expert.json"
PART = re.compile(r"part-\d+-of-\d+-(\d+)\.arrow")
NOWHERE = -1
UNDECODED = "cannot be decoded"
"""How the failure of a picture begins that no expert could be shown."""
SCHEMA = pa.schema(
    [
        pa.field("digest", pa.string(), nullable=False),
        pa.field("label", pa.large_binary()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("failure", pa.string()),
    ]
)


@dataclass(frozen=True)
class Description:
    """All of `expert.json`. geometry: how pictures were resized and cut, as `Preprocessing.geometry` says; size: side
    of the maps in pixels."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    identity: Identity
    geometry: str
    size: int


@dataclass(frozen=True)
class Outcome:
    """What came of one image: a map, or why there is none."""

    digest: str
    label: Encoded | None
    failure: str | None = None


_FILE = TypeAdapter(Description)


def read_description(folder: Path) -> Description:
    """Raises `ExpertError` if `folder` holds no labels."""
    path = folder / DESCRIPTION
    try:
        return _FILE.validate_json(path.read_bytes())
    except OSError as error:
        raise ExpertError(f"{path}: no labels here.") from error
    except ValidationError as error:
        raise ExpertError(f"{path}: not the description of an expert ({error.error_count()} faults).") from error


def claim_folder(folder: Path, description: Description) -> None:
    """Make `folder` that of `description`, or see that it is. Raises `ExpertError` if it is another expert's."""
    path = folder / DESCRIPTION
    if path.exists():
        found = read_description(folder)
        if found != description:
            raise ExpertError(
                f"{folder}: has labels of {_called(found)}, not of {_called(description)}; give another folder."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _replace(path, lambda partial: partial.write_bytes(_FILE.dump_json(description, indent=2) + b"\n"))
    if read_description(folder) != description:  # another one came first
        claim_folder(folder, description)


def _called(description: Description) -> str:
    identity = description.identity
    return f"{identity.name} {identity.version} ({identity.digest[:12]}, {description.geometry})"


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a temporary file of this process alone, so that a kill leaves a whole file or none, and processes
    that start at once do not take each other's away."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_part(folder: Path, shard: tuple[int, int], outcomes: Sequence[Outcome]) -> Path:
    """One more file of the shard (its number and how many there are)."""
    start = f"part-{shard[0]:03d}-of-{shard[1]:03d}-"
    taken = [int(match[1]) for path in folder.glob(f"{start}*.arrow") if (match := PART.fullmatch(path.name))]
    path = folder / f"{start}{max(taken, default=-1) + 1:05d}.arrow"
    table = pa.table(
        {
            "digest": [each.digest for each in outcomes],
            "label": [each.label.payload if each.label else None for each in outcomes],
            "low": [_number(each.label.low) if each.label else None for each in outcomes],
            "high": [_number(each.label.high) if each.label else None for each in outcomes],
            "failure": [each.failure for each in outcomes],
        },
        schema=SCHEMA,
    )
    _replace(path, lambda partial: _write(table, partial))
    return path


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        writer.write_table(table)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


@dataclass
class LabelStore:
    """The labels in a folder. Raises `ExpertError` for a folder without any, and for files that cannot be read.

    failures: why an image has none, by digest. Memory: 40 bytes for each label, whatever its size.
    """

    folder: Path
    description: Description = field(init=False)
    failures: dict[str, str] = field(init=False, default_factory=dict)
    _parts: list[Path] = field(init=False, repr=False)
    _keys: Keys = field(init=False, repr=False)
    """Sorted; `_where`, int32[n, 2], has the part and the row of each."""
    _where: npt.NDArray[np.int32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.description = read_description(self.folder)
        self._parts = sorted(self.folder.glob("part-*.arrow"))
        if not self._parts and any(self.folder.glob("part-*.parquet")):
            raise ExpertError(f"{self.folder}: labels of an earlier form (Parquet); remove the folder and label again.")
        keys, where = [np.empty(0, KEY)], [np.empty((0, 2), np.int32)]
        for number, path in enumerate(self._parts):
            with _opened(path) as part:
                digests, failures = (part.column(name).to_pylist() for name in ("digest", "failure"))
            rows = [row for row, failure in enumerate(failures) if failure is None]
            keys.append(np.array([digests[row] for row in rows], KEY))
            where.append(np.stack([np.full(len(rows), number), np.array(rows)], axis=1).astype(np.int32))
            self.failures |= {digests[row]: why for row, why in enumerate(failures) if why is not None}
        found = np.concatenate(keys)
        order = np.argsort(found, kind="stable")
        self._keys, self._where = found[order], np.concatenate(where)[order]
        # An image that failed once may have been tried again.
        self.failures = {digest: why for digest, why in self.failures.items() if digest not in self}

    def __len__(self) -> int:
        """How many images have a label."""
        return len(np.unique(self._keys))

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and bool(self.find([digest])[0] != NOWHERE)

    @property
    def digests(self) -> frozenset[str]:
        """Of the images that have a label, read from the files."""
        found: set[str] = set()
        for path in self._parts:
            with _opened(path) as part:
                pairs = zip(*(part.column(name).to_pylist() for name in ("digest", "failure")), strict=True)
                found.update(digest for digest, failure in pairs if failure is None)
        return frozenset(found)

    def find(self, digests: Sequence[str] | Keys) -> npt.NDArray[np.int32]:
        """int32[n], where in the store the labels of n images lie; `NOWHERE` for those without. See `at`."""
        wanted = np.asarray(digests, KEY)
        if not len(self._keys):
            return np.full(len(wanted), NOWHERE, np.int32)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[at] == wanted, at, NOWHERE).astype(np.int32)

    def at(self, places: npt.NDArray[np.int32]) -> Dense:
        """The maps at n places that `find` gave, uint8[n, h, w] or float32[n, h, w] or float32[n, h, w, 3] as `Kind`
        says; unknown at every pixel for `NOWHERE`. Files are opened one after the other, each once."""
        kind, size = self.description.identity.kind, self.description.size
        shape = (len(places), size, size, *([3] if kind is Kind.NORMALS else []))
        found: Dense = (
            np.full(shape, UNKNOWN_CLASS, np.uint8) if kind is Kind.CLASSES else np.full(shape, np.nan, np.float32)
        )
        for path, wanted in self._by_file(places):
            with _opened(path) as part:
                for place, row in wanted:
                    payload, low, high = (part.column(name)[row].as_py() for name in ("label", "low", "high"))
                    encoded = Encoded(payload, np.nan if low is None else low, np.nan if high is None else high)
                    found[place] = _checked(decode(kind, encoded), found.shape[1:], path)
        return found

    def maps(self, digests: Sequence[str]) -> Dense:
        """The maps of n images, as `at` gives them. An image without a label is unknown at every pixel."""
        return self.at(self.find(digests))

    def _by_file(self, places: npt.NDArray[np.int32]) -> Iterator[tuple[Path, list[tuple[int, int]]]]:
        """For each file what is wanted of it: places in the answer and rows of the file."""
        files: dict[int, list[tuple[int, int]]] = {}
        for place, at in enumerate(places.tolist()):
            if at != NOWHERE:
                part, row = self._where[at].tolist()
                files.setdefault(part, []).append((place, row))
        yield from ((self._parts[part], wanted) for part, wanted in sorted(files.items()))


def _checked(label: Dense, shape: tuple[int, ...], path: Path) -> Dense:
    if label.shape != shape:
        raise ExpertError(f"{path}: a map of {list(label.shape)} where {DESCRIPTION} says {list(shape)}; label again.")
    return label


@contextmanager
def _opened(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file, for as long as it is needed: there are thousands of them."""
    try:
        with pa.memory_map(str(path)) as file:
            yield pa.ipc.open_file(file).get_batch(0)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ExpertError(f"{path}: not a file of labels ({error}); remove it and label again.") from error
