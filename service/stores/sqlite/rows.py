"""Rows of label sets, which every store looks at inside its own transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from service.pipeline.labels import LabelSet
from service.stores.base import StoredLabelSet
from service.stores.reasons import label_set_missing, label_set_replaced
from service.stores.sqlite.file import Row

LABEL_SET_COLUMNS: Final = "name, content, created_at, updated_at"


def one(connection: sqlite3.Connection, query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Row | None:
    """The first row. All are fetched: a statement with RETURNING that is not finished keeps its transaction open."""
    rows: list[Row] = connection.execute(query, parameters).fetchall()
    return rows[0] if rows else None


def find_label_set(connection: sqlite3.Connection, name: str) -> StoredLabelSet | None:
    row = one(connection, f"SELECT {LABEL_SET_COLUMNS} FROM label_sets WHERE name = ?", (name,))
    return read_label_set(row) if row is not None else None


def check_digest(connection: sqlite3.Connection, name: str, digest: str) -> None:
    """Raises `NotFoundError` without the label set, `LabelSetChangedError` when it has other contents."""
    found = find_label_set(connection, name)
    if found is None:
        raise label_set_missing(name)
    if found.label_set.digest != digest:
        raise label_set_replaced(name)


def dump_label_set(label_set: LabelSet) -> str:
    content = {"labels": label_set.labels, "phrasings": label_set.phrasings, "templates": label_set.templates}
    return json.dumps(content, ensure_ascii=False)


def read_label_set(row: Row) -> StoredLabelSet:
    """From `LABEL_SET_COLUMNS`."""
    name, content, created_at, updated_at = row
    fields = json.loads(content)
    label_set = LabelSet(
        labels=tuple(fields["labels"]),
        phrasings=tuple(tuple(phrasings) for phrasings in fields["phrasings"]),
        templates=tuple(fields["templates"]),
    )
    return StoredLabelSet(name, label_set, datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at))
