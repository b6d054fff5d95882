"""Where built data comes from: `manifest.json` beside the Parquet files."""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from training.data.builders.packages import sha256_of
from training.data.builders.pictures import Dropped, Picture, Source
from training.data.rows import DataError
from training.data.splits import RESERVED_SOURCES

MANIFEST: Final = "manifest.json"
# What draws, encodes and writes: another version may give other bytes for the same pictures.
TOOLS: Final = ("pillow", "pyarrow", "resvg-py")


def contents_digest(pictures: Sequence[Picture]) -> str:
    """sha256 in hex over all rows in order: equal for equal pictures, whatever wrote the file around them."""
    total = hashlib.sha256()
    for picture in pictures:
        total.update(hashlib.sha256(picture.image).digest())
        facts = [picture.captions, picture.label, picture.test, picture.name, picture.concept, dict(picture.extra)]
        total.update(json.dumps(facts, sort_keys=True).encode())
    return total.hexdigest()


def entry(source: Source, path: Path, pictures: Sequence[Picture], dropped: Dropped) -> dict[str, Any]:
    """The manifest's entry for one written source."""
    test = sum(picture.test for picture in pictures)
    return {
        "file": path.name,
        "sha256": sha256_of(path),
        "contents_sha256": contents_digest(pictures),
        "rows": {"train": len(pictures) - test, "test": test},
        "dropped": dict(sorted(dropped.items())),
        "reserved": source.name in RESERVED_SOURCES,
        "broad_labels": source.broad_labels,
        "licence": source.licence,
        "attribution": source.attribution,
        "packages": [
            {"manager": one.manager, "name": one.name, "version": one.version, "sha256": one.sha256}
            for one in source.packages
        ],
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """The entries by source, empty where nothing has been built yet. Raises `DataError` for a damaged file."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["sources"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a manifest of built data; delete it and build again") from error
    return entries


def write_entry(folder: Path, name: str, new: dict[str, Any]) -> None:
    """Add or replace one source's entry; the file is replaced at once."""
    entries = {**read_manifest(folder), name: new}
    document = {
        "made_with": {tool: importlib.metadata.version(tool) for tool in TOOLS},
        "sources": {key: entries[key] for key in sorted(entries)},
    }
    temporary = folder / f"{MANIFEST}.partial"
    temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST)
