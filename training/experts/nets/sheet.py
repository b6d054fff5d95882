"""Contact sheets of what experts answer, to be looked at, and what the pictures on them are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw

from service.model_config import Preprocessing
from training.data.rows import DataError, Row
from training.data.samples import decode_rows
from training.data.sources import read_rows, source_files
from training.experts.dense_source import read_extras
from training.experts.errors import ExpertError
from training.experts.nets.data import labels_beside
from training.experts.protocol import Dense, Expert, Kind, Pictures
from training.experts.scenes.sheet import GAP_PX, show_classes, show_depth, show_normals, tile

LICENCES: Final = {"clothing": "CC0-1.0", "grocery_store": "MIT"}
"""Of sources whose photographs may be shown anywhere. Others say it picture by picture, if at all."""

DRAWN: Final = "drawn by this project"
HEADING_PX: Final = 14


@dataclass(frozen=True)
class Sheet:
    """A page. pictures: where each came from, under which licence; a row of the page has `across` of them."""

    page: Pictures
    columns: tuple[str, ...]
    pictures: tuple[dict[str, str], ...]
    experts: tuple[dict[str, str], ...]

    def save(self, path: Path) -> None:
        """As PNG, and beside it as JSON what is on it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.page).save(path, "PNG", optimize=True)
        facts = {"columns": self.columns, "experts": self.experts, "pictures": self.pictures}
        path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def show(kind: Kind, answer: Dense) -> Pictures:
    """uint8[h, w, 3] for one map."""
    if kind is Kind.CLASSES:
        return show_classes(answer)
    if kind is Kind.NORMALS:
        return show_normals(answer)
    if kind is Kind.DEPTH:
        return show_depth(answer)
    with np.errstate(divide="ignore"):
        return show_depth(np.float32(1) / answer.astype(np.float32))


def make_sheet(
    experts: Sequence[Expert], data: Sequence[Path], sources: Sequence[str], *, count: int, size: int, across: int = 2
) -> Sheet:
    """`count` pictures of the test rows of each source (of all rows, where none is for tests), spread over the file:
    the picture, and for each expert the exact label where there are such, and the answer.

    Raises `DataError` for a source that is not there, `ExpertError` for numbers that make no sense.
    """
    if count < 1 or across < 1 or not experts:
        raise ExpertError("a sheet needs an expert and a picture.")
    seen = Preprocessing(size, "shortest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    strips: list[list[Pictures]] = []
    pictures: list[dict[str, str]] = []
    columns: list[str] = []
    for source in sources:
        rows = _pick(list(read_rows(list(data), [source])), count)
        images = decode_rows(rows, seen).images
        shown, columns = [list(images)], ["picture"]
        for expert in experts:
            kind = expert.identity.kind
            truth = _truth(data, source, kind, rows, size)
            if truth is not None:
                columns.append(f"{kind}: exact")
                shown.append([show(kind, each) for each in truth])
            columns.append(f"{kind}: {expert.identity.name}")
            shown.append([show(kind, each) for each in expert(images)])
        strips += [list(strip) for strip in zip(*shown, strict=True)]
        pictures += _describe(rows, data, source)
    if len({len(strip) for strip in strips}) > 1:
        raise ExpertError("scenes and photographs have different columns: make a sheet of each.")
    lines = [[part for strip in strips[at : at + across] for part in strip] for at in range(0, len(strips), across)]
    identities = tuple(
        {"name": e.identity.name, "version": e.identity.version, "digest": e.identity.digest} for e in experts
    )
    return Sheet(_headed(tile(lines), columns, size, across), tuple(columns), tuple(pictures), identities)


def _pick(rows: Sequence[Row], count: int) -> list[Row]:
    known = [row for row in rows if row.test] or list(rows)
    if not known:
        raise DataError("a sheet of a source without rows")
    step = max(1, len(known) // count)
    return known[::step][:count]


def _truth(data: Sequence[Path], source: str, kind: Kind, rows: Sequence[Row], size: int) -> Dense | None:
    try:
        store = labels_beside(data, source, f"exact-{kind}")
    except ExpertError:
        return None
    if store.description.size != size:
        raise ExpertError(f"{store.folder}: labels of {store.description.size} pixels, not of {size}.")
    return store.maps([row.digest for row in rows])


def _describe(rows: Sequence[Row], data: Sequence[Path], source: str) -> list[dict[str, str]]:
    extras: dict[str, dict[str, Any]] = {}
    for path in source_files(list(data))[source]:
        if path.suffix == ".parquet":
            extras |= read_extras(path)
    return [_facts(row, extras.get(row.digest, {})) for row in rows]


def _facts(row: Row, extra: dict[str, Any]) -> dict[str, str]:
    """Which picture this is, and its licence; of a scene that of the photograph behind it."""
    if "backdrop" in extra:
        behind = str(extra.get("photograph", ""))
        licence = LICENCES.get(behind.split(" ")[0], "unknown") if extra["backdrop"] == "photograph" else DRAWN
        name = f"scene {extra['seed']}" + (f" before {behind}" if behind else "")
    elif "photograph" in extra:  # a composite, of drawings by many hands
        licence = str(extra.get("image_licence", "unknown"))
        name = f"composite {extra.get('seed', row.digest)} before {extra['photograph']}"
    else:
        licence = LICENCES.get(row.source) or str(extra.get("image_licence", "unknown"))
        name = str(extra.get("file", row.digest))
    return {"source": row.source, "picture": name, "licence": licence}


def _headed(page: Pictures, columns: Sequence[str], size: int, across: int) -> Pictures:
    """The page under a line with the columns' names."""
    canvas = Image.new("RGB", (page.shape[1], page.shape[0] + HEADING_PX), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for place, name in enumerate(list(columns) * across):
        draw.text((place * (size + GAP_PX) + 1, 1), name.split(": ")[-1], fill=(0, 0, 0), font_size=10)
    canvas.paste(Image.fromarray(page), (0, HEADING_PX))
    return np.asarray(canvas)
