"""Rows in WebDataset shards: tar files in which files of one name belong together.

`KEY.jpg` (or png, webp) is the picture. `KEY.json` may hold `captions`, `label`, `split` and `extra` as the columns of
a Parquet file do; `KEY.txt` is one caption. Without a split a row is a train row, so that ordinary shards work as they
are.
"""

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from webdataset.tariterators import group_by_keys, tar_file_expander

from training.data.rows import DataError, Row, make_row

PICTURES = ("jpg", "jpeg", "png", "webp")
KNOWN = ("captions", "label", "split", "extra")


def read_shard(path: Path, source: str) -> Iterator[Row]:
    """Every row of one shard, in order. Raises `DataError` for a damaged file and for samples that are no rows."""
    # The library's own reader of paths leaves files open.
    with readable(path), path.open("rb") as stream:
        for sample in group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])):
            yield row_of_sample(path, source, sample)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What stops the reading of a shard becomes a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except (tarfile.TarError, OSError, EOFError, MemoryError) as error:
        raise DataError(f"{path}: not a readable tar file") from error
    except ValueError as error:  # the library's, for two files of one name
        raise DataError(f"{path}: {str(error.args[0]).split(' dict_keys')[0]}") from error


def row_of_sample(path: Path, source: str, sample: dict[str, Any]) -> Row:
    """The row of one sample, files by their kinds as `group_by_keys` gives them. Raises `DataError`."""
    where = Path(f"{path}/{sample['__key__']}")
    picture = next((sample[kind] for kind in PICTURES if kind in sample), None)
    if picture is None:
        raise DataError(f"{where}: no picture among {', '.join(name for name in sample if not name.startswith('__'))}")
    try:
        about = json.loads(sample.get("json", b"{}"))
        text = sample["txt"].decode().strip() if "txt" in sample else None
        found = {key: about[key] for key in KNOWN if key in about}
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: its texts cannot be read") from error
    captions = found.get("captions", [text] if text else [])
    return make_row(
        where,
        image=picture,
        captions=captions,
        label=found.get("label"),
        split=found.get("split", "train"),
        source=source,
        extra=found.get("extra", {}),
    )
