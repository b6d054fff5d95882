"""Made-up pictures with exact dense labels as a source like any other.

    DATA/NAME.parquet                   rows, as `training.data.parquet` reads them
    DATA/labels/NAME/exact-classes/     a store of labels (`training.experts.labels.store`) for each kind
    DATA/labels/NAME/exact-depth/ ...

Pictures are made by several processes, some at a time; what a killed run had made is in `DATA/NAME.parts` and is not
made again. The labels are in place before the rows, so that a source that can be read is whole. Other stores in
`DATA/labels/NAME`, those of experts, are left alone.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from service.errors import RequestError
from service.model_config import Preprocessing
from training.data.parquet import EXTRA, read_described
from training.data.rows import Row, make_row
from training.experts.errors import ExpertError
from training.experts.labels.encoding import Encoded, encode
from training.experts.labels.store import Description, Outcome, claim_folder, write_part
from training.experts.locks import alone
from training.experts.protocol import Dense, Identity, Pictures

ROWS = pa.schema(
    [
        ("image", pa.binary()),
        ("captions", pa.list_(pa.string())),
        ("label", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        (EXTRA, pa.string()),
    ]
)
MADE: Final = b"quorum.made"
"""Key of the file's metadata that says how the pictures were made."""

PER_PART = 128
PER_STORE_FILE = 1024
LABELS: Final = "labels"
NAME: Final = re.compile(r"\w[\w.-]*")
"""Of a source: its files are named by it, and folders that are replaced."""

Job = TypeVar("Job")


@dataclass(frozen=True)
class DensePicture:
    """One made picture. image: encoded bytes; labels: for every store of the source, by its name, the map or why there
    is none; extra: what the column of that name holds."""

    image: bytes
    captions: tuple[str, ...]
    labels: Mapping[str, Encoded | str]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DenseSource(Generic[Job]):
    """Pictures to make. name: of the source; test: whether its rows are test rows; size: side in pixels; identities: of
    the stores, whose names are theirs; made: all that decides the pictures, as JSON can hold it; draw: makes one, in
    another process, and is therefore a function of a module or an object of such a class."""

    name: str
    test: bool
    size: int
    identities: tuple[Identity, ...]
    made: Mapping[str, Any]
    draw: Callable[[Job], DensePicture]

    @property
    def description(self) -> str:
        """`made` and what else decides the files, as one line of JSON."""
        stores = [[each.name, each.version, each.digest] for each in self.identities]
        everything = {**self.made, "size": self.size, "test": self.test, "stores": stores}
        return json.dumps(everything, sort_keys=True)


def exact_label(identity: Identity, label: Dense) -> Encoded | str:
    """A map of one picture as a store keeps it, or the reason for which it keeps none."""
    try:
        return encode(identity.kind, label)
    except ExpertError as error:
        return str(error)


def encode_picture(image: Pictures) -> bytes:
    """Lossless WebP of uint8[h, w, 3]: a tenth smaller than PNG, and faster written."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=2)
    return buffer.getvalue()


def label_folder(data: Path, source: str, store: str) -> Path:
    """Where the exact labels of a source lie: `store` is "exact-classes" and so on."""
    return data / LABELS / source / store


def read_extras(path: Path) -> dict[str, dict[str, Any]]:
    """What the column `extra` of a file of rows holds, by the digest of the picture. Raises `DataError`."""
    return {row.digest: extra for row, extra in read_described(path)}


def write_dense_source(
    data: Path, source: DenseSource[Job], jobs: Sequence[Job], *, workers: int = 1, progress: bool = False
) -> Path:
    """Make one picture for each of `jobs` and write them in this order; the file of rows. Goes on where a killed run
    was; a source that is there already is left alone.

    Raises `ExpertError` for a name that is none, if there is a source of that name that was made otherwise or that
    another process makes, and if two pictures are the same.
    """
    if not NAME.fullmatch(source.name):
        raise ExpertError(f'"{source.name}" is no name of a source: letters, digits, "_", "-" and "." make one.')
    path = data / f"{source.name}.parquet"
    parts = data / f"{source.name}.parts"
    if path.exists():
        _refuse_others(f"{path}: was made", _made(path), source.description)
        shutil.rmtree(parts, ignore_errors=True)  # of a run that was killed at its very end
        return path
    parts.mkdir(parents=True, exist_ok=True)
    with alone(parts, f"{path}: another process makes it."):
        _claim_parts(parts, source.description)
        groups = _groups(parts, jobs)
        missing = {part: group for part, group in groups.items() if not part.exists()}
        with tqdm(total=len(jobs), desc=source.name, unit="img", disable=not progress) as bar:
            bar.update(len(jobs) - sum(len(group) for group in missing.values()))
            for count in _make_parts(source, missing, workers):
                bar.update(count)
        _write_stores(data, source, list(groups))
        _write_rows(path, source, list(groups))
        shutil.rmtree(parts)
    return path


def _groups(parts: Path, jobs: Sequence[Job]) -> dict[Path, Sequence[Job]]:
    """What is made for each file of a run."""
    return {parts / f"{start:08d}.parquet": jobs[start : start + PER_PART] for start in range(0, len(jobs), PER_PART)}


def _made(path: Path) -> str:
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise ExpertError(f"{path}: not a file of rows ({error}).") from error
    made: bytes = metadata.get(MADE, b"")
    return made.decode()


def _refuse_others(what: str, made: str, wanted: str) -> None:
    """Raises `ExpertError` with what differs, if a source or a part of one was made otherwise than it is wanted."""
    if made == wanted:
        return
    try:
        here = json.loads(made)
    except ValueError:
        here = {}
    names = [name for name, value in json.loads(wanted).items() if here.get(name) != value]
    words = ["the program that draws" if name == "stores" else name for name in names]
    raise ExpertError(
        f"{what} with other settings ({', '.join(words) or 'more of them'}); remove it, or choose another name."
    )


def _claim_parts(parts: Path, description: str) -> None:
    """See that unfinished pictures were made alike, and leave out what a kill cut off."""
    of = parts / "made.json"
    if of.exists():
        _refuse_others(f"{parts}: an unfinished run", of.read_text("utf-8"), description)
    partial = of.with_suffix(".partial")
    partial.write_text(description, encoding="utf-8")
    partial.replace(of)


def _make_parts(source: DenseSource[Job], missing: Mapping[Path, Sequence[Job]], workers: int) -> Iterator[int]:
    """How many pictures there are more, after every part that is written."""
    if workers <= 1:
        for part, group in missing.items():
            yield _make_part(source, part, group)
        return
    # Forking after threads were started (Arrow's, torch's) may hang.
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: list[Future[int]] = [pool.submit(_make_part, source, part, group) for part, group in missing.items()]
        for done in as_completed(waiting):
            yield done.result()


def _make_part(source: DenseSource[Job], part: Path, group: Sequence[Job]) -> int:
    try:
        pictures = [source.draw(job) for job in group]
    except RequestError as error:
        raise ExpertError(f"{source.name}: a picture that is to stand behind cannot be decoded: {error}") from error
    columns: dict[str, list[Any]] = {
        "image": [each.image for each in pictures],
        "captions": [list(each.captions) for each in pictures],
        EXTRA: [json.dumps(dict(each.extra), sort_keys=True) for each in pictures],
    }
    for identity in source.identities:
        labels = [each.labels[identity.name] for each in pictures]
        columns[f"{identity.name} label"] = [each.payload if isinstance(each, Encoded) else None for each in labels]
        columns[f"{identity.name} low"] = [each.low if isinstance(each, Encoded) else None for each in labels]
        columns[f"{identity.name} high"] = [each.high if isinstance(each, Encoded) else None for each in labels]
        columns[f"{identity.name} failure"] = [None if isinstance(each, Encoded) else each for each in labels]
    partial = part.with_suffix(".partial")
    pq.write_table(pa.table(columns), partial, compression="none")
    partial.replace(part)
    return len(pictures)


def _write_stores(data: Path, source: DenseSource[Job], parts: Sequence[Path]) -> None:
    geometry = Preprocessing(source.size, "shortest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).geometry
    folder = data / LABELS / source.name
    unfinished = folder.with_name(f"{source.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    for identity in source.identities:
        store = unfinished / identity.name
        claim_folder(store, Description(identity, geometry, source.size))
        outcomes: list[Outcome] = []
        for part in parts:
            outcomes += _outcomes(source, identity.name, part)
            if len(outcomes) >= PER_STORE_FILE:
                write_part(store, (0, 1), outcomes)
                outcomes = []
        if outcomes:
            write_part(store, (0, 1), outcomes)
    folder.mkdir(parents=True, exist_ok=True)
    for identity in source.identities:
        # Each by itself: what experts said of these pictures may lie beside.
        shutil.rmtree(folder / identity.name, ignore_errors=True)
        (unfinished / identity.name).replace(folder / identity.name)
    unfinished.rmdir()


def _outcomes(source: DenseSource[Job], store: str, part: Path) -> Iterator[Outcome]:
    wanted = ["image", *(f"{store} {name}" for name in ("label", "low", "high", "failure"))]
    for record in pq.read_table(part, columns=wanted).to_pylist():
        image, payload, low, high, failure = (record[name] for name in wanted)
        label = None if payload is None else Encoded(payload, low, high)
        row = make_row(part, image=image, captions=(), label=None, split="test", source=source.name, extra={})
        yield Outcome(row.digest, label, failure)


def _write_rows(path: Path, source: DenseSource[Job], parts: Sequence[Path]) -> None:
    """The rows of all parts as one file, at once."""
    partial = path.with_suffix(".partial")
    schema = ROWS.with_metadata({MADE: source.description.encode()})
    seen: set[str] = set()
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for part in parts:
            table = pq.read_table(part, columns=["image", "captions", EXTRA])
            records = [
                {**record, "label": None, "split": "test" if source.test else "train", "source": source.name}
                for record in table.to_pylist()
            ]
            rows = [_row(path, record) for record in records]
            seen |= {row.digest for row in rows}
            writer.write_table(pa.Table.from_pylist(records, schema=schema))
    found = pq.read_metadata(partial).num_rows
    if len(seen) < found:
        raise ExpertError(f"{source.name}: {found - len(seen)} of {found} pictures are there twice.")
    partial.replace(path)


def _row(path: Path, record: Mapping[str, Any]) -> Row:
    return make_row(path, **{**record, EXTRA: {}})
