"""Rows of image-text data, whatever kind of file they lie in."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BROAD_LABEL = "broad_label"
"""Key of `extra` that makes a row's label a broad one."""


class DataError(ValueError):
    """The data on disk cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with its texts as it lies on disk.

    `image` holds encoded bytes (WebP, JPEG, PNG), `digest` the sha256 of those bytes in hex, `test` whether the file
    marks the row as a test row, `concept` what the source keeps on one side of its split (null where it splits by
    picture). `broad`: very different things share the label ("mammal" over a captioned cat and a captioned dog), so
    rows must not count as a matching pair because of it.
    """

    image: bytes
    digest: str
    captions: tuple[str, ...]
    label: str | None
    source: str
    test: bool
    concept: str | None = None
    broad: bool = False


def make_row(
    path: Path,
    *,
    image: bytes,
    captions: Sequence[str],
    label: str | None,
    split: str,
    source: str,
    extra: Mapping[str, object],
) -> Row:
    """A row from its parts; `path` is named in errors.

    Raises `DataError` for a `split` that is neither, and for parts of another kind, which files may hold.
    """
    if split not in ("train", "test"):
        raise DataError(f"{path}: split {split!r} is neither 'train' nor 'test'")
    if not isinstance(image, bytes):
        raise DataError(f"{path}: a row without a picture")
    if not isinstance(captions, list | tuple) or not all(map(_is_text, captions)):
        raise DataError(f"{path}: captions {str(captions)[:80]!r} are no list of texts")
    if label is not None and not _is_text(label):
        raise DataError(f"{path}: label {label!r} is no text")
    if not isinstance(extra, Mapping):
        raise DataError(f"{path}: extra {str(extra)[:80]!r} is no JSON object")
    concept = extra.get("concept")
    return Row(
        image=image,
        digest=hashlib.sha256(image).hexdigest(),
        captions=tuple(captions),
        label=label,
        source=source,
        test=split == "test",
        concept=None if concept is None else str(concept),
        broad=bool(extra.get(BROAD_LABEL)),
    )


def _is_text(value: object) -> bool:
    """Whether it is a string that can be written: JSON may hold halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
