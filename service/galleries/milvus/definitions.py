"""What a gallery is called and how it is described in Milvus.

Its definition is a property of its collection, as JSON: there is no second place that could say something else. (A
collection's description is no place for it: Lite drops it, and servers limit it to a kilobyte.)
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from service.galleries.base import GalleryMember, GallerySpec

log = logging.getLogger(__name__)

PREFIX: Final = "quorum_"
PROPERTY: Final = "quorum.gallery"
FORMAT: Final = 1

_PLAIN: Final = re.compile("[a-z0-9]")
_ESCAPED: Final = re.compile("(?:[a-z0-9]|_[0-9a-f]{2})+")


def collection_of(gallery: str) -> str:
    """The collection of a gallery of that name: no two names share one, nor one that differs in upper case alone (the
    embedded store has a folder per collection, and not every file system tells `A` from `a`)."""
    return PREFIX + "".join(char if _PLAIN.fullmatch(char) else _escaped(char) for char in gallery)


def gallery_of(collection: str) -> str | None:
    """The gallery whose collection this is; None for a collection of somebody else."""
    escaped = collection.removeprefix(PREFIX)
    if escaped == collection or not _ESCAPED.fullmatch(escaped):
        return None
    plain = re.sub("_([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), escaped)
    try:
        name = plain.encode("latin-1").decode()
    except UnicodeDecodeError:
        return None
    return name if collection_of(name) == collection else None


def properties_of(spec: GallerySpec) -> dict[str, str]:
    definition = {
        "format": FORMAT,
        "name": spec.name,
        "members": [[each.name, each.width, each.image, each.text, each.geometry] for each in spec.members],
        "prefix": list(spec.prefix),
        "metric": spec.metric,
        "fields": dict(spec.fields),
        "created_at": spec.created_at.isoformat(),
    }
    return {PROPERTY: json.dumps(definition, ensure_ascii=False, separators=(",", ":"))}


def spec_of(collection: str, properties: Mapping[str, Any]) -> GallerySpec | None:
    """The gallery that a collection is; None, and a line in the log, where it has no definition that can be read."""
    try:
        definition = json.loads(properties[PROPERTY])
        if definition["format"] != FORMAT:
            raise ValueError(f"format {definition['format']}")
        return GallerySpec(
            name=definition["name"],
            members=tuple(GalleryMember(*each) for each in definition["members"]),
            prefix=tuple(definition["prefix"]),
            metric=definition["metric"],
            fields=definition["fields"],
            created_at=datetime.fromisoformat(definition["created_at"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        log.warning("collection %s is not a gallery that this version can read: %r", collection, error)
        return None


def _escaped(char: str) -> str:
    return "".join(f"_{byte:02x}" for byte in char.encode())
