"""The playground's sample gallery: some three hundred small pictures to search in, with what they show.

All are test rows, so no tower was trained on any of them, and all are of sources whose licences let anybody pass them
on. Pictures are copied byte for byte; `gallery.json` beside them carries their digests.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from training.data.rows import DataError, Row
from training.data.sources import DataDirs, read_rows
from training.data.splits import Split, assign_splits
from training.samples import SAMPLES_DIR, Source, read_manifest

GALLERY: Final = "sample"
"""What the page calls the gallery that it makes of these pictures."""
FIELDS: Final = {"label": "string", "kind": "string", "source": "string", "licence": "string"}
MOST_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class GallerySource:
    """One source: `each` pictures of every one of its `labels`, here mapped to what the gallery calls them.

    `notice` is a text that the licence wants beside every copy.
    """

    name: str
    title: str
    kind: str
    licence: str
    attribution: str
    changes: str
    labels: Mapping[str, str]
    each: int
    notice: str = ""


def _same(*labels: str) -> dict[str, str]:
    return {label: label for label in labels}


# Fruit and vegetables alone: what comes in packages carries the marks of its makers.
_GROCERIES: Final = {
    **{name: name.lower() for name in ("Asparagus", "Aubergine", "Avocado", "Banana", "Cabbage", "Cucumber", "Garlic")},
    **{name: name.lower() for name in ("Ginger", "Kiwi", "Leek", "Lemon", "Lime", "Mango", "Nectarine", "Orange")},
    **{name: name.lower() for name in ("Papaya", "Passion Fruit", "Peach", "Pineapple", "Plum", "Pomegranate")},
    **{name: name.lower() for name in ("Sweet Potato", "Watermelon", "Zucchini")},
    "Brown Cap Mushroom": "mushroom",
    "Cantaloupe Melon": "melon",
    "Carrots": "carrot",
    "Conference Pear": "pear",
    "Granny Smith Apple": "green apple",
    "Green Bell Pepper": "green pepper",
    "Red Beet": "beetroot",
    "Red Bell Pepper": "red pepper",
    "Red Grapefruit": "grapefruit",
    "Royal Gala Apple": "red apple",
    "Solid Potato": "potato",
    "Vine Tomato": "tomato",
    "Yellow Bell Pepper": "yellow pepper",
    "Yellow Onion": "onion",
}
_CLOTHES: Final = {
    **_same("dress", "hat", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"),
    "long sleeve top": "jumper",
    "outerwear": "jacket",
}
_CLIP_ART: Final = _same("animal", "building", "clothing", "food", "musical instrument", "plant", "sport")
_ICONS: Final = _same("animal", "building", "clock", "clothing", "food", "hand", "sport", "weather")


def sources() -> tuple[GallerySource, ...]:
    """Where the pictures come from; attributions that the bundled samples need as well are those of `samples.json`."""
    known = read_manifest(SAMPLES_DIR).sources
    grocery, clothing, art = known["grocery_store"], known["clothing"], known["openclipart"]
    return (
        _of(grocery, "grocery_store", _GROCERIES, each=4),
        _of(clothing, "clothing", _CLOTHES, each=9),
        replace(_of(art, "clip_art", _CLIP_ART, each=6), changes="Rendered on white at 64 pixels."),
        GallerySource(
            name="icon_park",
            title="IconPark",
            kind="icon",
            licence="Apache-2.0",
            attribution="ByteDance Inc., as packaged by Iconify (@iconify-json/icon-park 1.2.4).",
            changes="Rendered on white at 64 pixels. The licence is the one in this project's LICENSE file.",
            labels=_ICONS,
            each=4,
        ),
    )


def _of(source: Source, name: str, labels: Mapping[str, str], *, each: int) -> GallerySource:
    """`name` is what the data call it."""
    return GallerySource(
        name=name,
        title=source.title,
        kind=source.kind,
        licence=source.licence,
        attribution=source.attribution,
        changes=source.changes,
        labels=labels,
        each=each,
        notice=source.notice,
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """A picture of the gallery. `file` is its name here, and its id in the gallery."""

    file: str
    label: str
    source: GallerySource
    row: Row


def write_gallery_sample(data: DataDirs, out: Path) -> tuple[int, int]:
    """Write the folder `out`, which must be new or empty; how many pictures there are, and their bytes.

    Raises `DataError` for a folder with something in it, for data that lack a source or enough of its test rows, and
    where the pictures are larger than a package should carry.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: there is something already; remove it or choose another folder")
    wanted = sources()
    chosen = choose(assign_splits(read_rows(data, [source.name for source in wanted])), wanted)
    size = sum(len(each.row.image) for each in chosen)
    if size > MOST_BYTES:
        raise DataError(f"the pictures take {size} bytes, and {MOST_BYTES} are the most")
    out.mkdir(parents=True, exist_ok=True)
    for each in chosen:
        (out / each.file).write_bytes(each.row.image)
    (out / "gallery.json").write_text(listing(chosen), encoding="utf-8")
    (out / "ATTRIBUTION.md").write_text(attribution(wanted, chosen), encoding="utf-8")
    return len(chosen), size


def choose(rows: Iterable[tuple[Row, Split]], wanted: Sequence[GallerySource]) -> list[Chosen]:
    """Of each label of each source the first test rows in order of their digests. Raises `DataError` for too few."""
    by_source: dict[str, dict[str, Row]] = {source.name: {} for source in wanted}
    for row, split in rows:
        if split is Split.TEST and row.source in by_source:
            by_source[row.source][row.digest] = row
    return [
        Chosen(_file(label, row), label, source, row)
        for source in wanted
        for name, label in sorted(source.labels.items())
        for row in _first(by_source[source.name], source, name)
    ]


def listing(chosen: Sequence[Chosen]) -> str:
    """`gallery.json`: the fields of the gallery, and its items with their digests and values."""
    items = [
        {"id": each.file, "sha256": each.row.digest, "fields": _fields(each)}
        for each in sorted(chosen, key=lambda each: each.file)
    ]
    head = json.dumps({"name": GALLERY, "fields": FIELDS}, indent=2).removesuffix("\n}")
    # One line per item, so that a change of one is a change of one line.
    lines = ",\n".join(f"    {json.dumps(item, ensure_ascii=False)}" for item in items)
    return f'{head},\n  "items": [\n{lines}\n  ]\n}}\n'


def attribution(wanted: Sequence[GallerySource], chosen: Sequence[Chosen]) -> str:
    """`ATTRIBUTION.md`: every source with its licence, and the pictures taken from it."""
    parts = [
        "# Where the pictures of the sample gallery come from\n",
        "Written by `python -m training gallery-sample`. All are test rows of their data sets, with the digests that "
        "`gallery.json` lists.\n",
    ]
    for source in wanted:
        files = [each.file for each in chosen if each.source == source]
        parts.append(f"## {source.title}\n")
        parts.append(f"Licence: {source.licence}. {source.attribution} {source.changes}\n")
        parts.append(f"{len(files)} pictures: {', '.join(f'`{file}`' for file in files)}.\n")
        if source.notice:
            parts.append("\n".join(f"> {line}".rstrip() for line in source.notice.splitlines()) + "\n")
    return "\n".join(parts).rstrip() + "\n"


def _first(rows: Mapping[str, Row], source: GallerySource, name: str) -> list[Row]:
    found = [rows[digest] for digest in sorted(rows) if rows[digest].label == name][: source.each]
    if len(found) < source.each:
        raise DataError(f'{source.name}: {len(found)} test pictures of "{name}", {source.each} are needed')
    return found


def _file(label: str, row: Row) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", label.lower())
    return f"{stem}-{row.digest[:8]}.webp"


def _fields(each: Chosen) -> dict[str, str]:
    source = each.source
    return {"label": each.label, "kind": source.kind, "source": source.title, "licence": source.licence}
