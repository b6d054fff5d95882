"""Pictures to a Parquet file that `training.data.parquet` reads."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training.data.builders.pictures import Picture, Source
from training.data.rows import BROAD_LABEL, DataError

SCHEMA = pa.schema(
    [
        ("image", pa.binary()),
        ("captions", pa.list_(pa.string())),
        ("label", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("extra", pa.string()),
    ]
)
ROWS_PER_GROUP = 2000


def as_row(picture: Picture, source: Source) -> dict[str, object]:
    """One row in the columns of `SCHEMA`."""
    facts: dict[str, object] = {"file": picture.name, **picture.extra}
    if picture.concept is not None:
        facts["concept"] = picture.concept
    if source.broad_labels and picture.label is not None:
        facts[BROAD_LABEL] = True
    return {
        "image": picture.image,
        "captions": list(picture.captions),
        "label": picture.label,
        "split": "test" if picture.test else "train",
        "source": source.name,
        "extra": json.dumps(facts, ensure_ascii=False, sort_keys=True),
    }


def write_source(path: Path, source: Source, pictures: Iterable[Picture]) -> None:
    """Write one source, replacing the file at once. Equal pictures in equal order give an equal file."""
    table = pa.Table.from_pylist([as_row(picture, source) for picture in pictures], schema=SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    pq.write_table(table, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd", write_statistics=False)
    temporary.replace(path)


def read_pictures(path: Path) -> list[Picture]:
    """The pictures in a file that `write_source` wrote, in order. Raises `DataError` for another kind of file."""
    with pq.ParquetFile(path) as file:
        if file.schema_arrow.names != SCHEMA.names:
            raise DataError(f"{path}: columns {', '.join(file.schema_arrow.names)}, not those of a built source")
        rows = file.read().to_pylist()
    pictures = []
    for row in rows:
        facts = json.loads(row["extra"])
        name, concept, _ = facts.pop("file"), facts.pop("concept", None), facts.pop(BROAD_LABEL, None)
        test = row["split"] == "test"
        pictures.append(Picture(row["image"], tuple(row["captions"]), row["label"], test, name, concept, facts))
    return pictures
