"""Rows in Parquet files.

The columns are `image` (an encoded picture), `captions` (list of strings), `label` (string or null), `split` (`train`
or `test`) and `source`. Of the column `extra` (a JSON object; may be absent) only `concept` and `broad_label` are read.
Other columns are ignored.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.data.rows import DataError, Row, make_row

COLUMNS = ("image", "captions", "label", "split", "source")
EXTRA = "extra"


def read_parquet(path: Path) -> Iterator[Row]:
    """Every row of one file, in order.

    Raises `DataError` for a file that cannot be read, a missing column, and what `make_row` refuses.
    """
    yield from (row for row, _ in read_described(path))


def read_described(path: Path) -> Iterator[tuple[Row, dict[str, Any]]]:
    """As `read_parquet`, each row with all that its column `extra` holds."""
    try:
        with pq.ParquetFile(path) as file:
            missing = set(COLUMNS) - set(file.schema_arrow.names)
            if missing:
                raise DataError(f"{path}: missing columns {', '.join(sorted(missing))}")
            columns = [name for name in (*COLUMNS, EXTRA) if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for record in batch.to_pylist():
                    extra = _extra(record.pop(EXTRA, None), path)
                    yield make_row(path, extra=extra, **record), extra
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from error


def _extra(text: str | None, path: Path) -> dict[str, Any]:
    try:
        extra = json.loads(text or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise DataError(f"{path}: {EXTRA} holds {text!r}, which is no JSON object")
    return extra
