"""Drawings by their categories, cut out along the alpha channel that their packages give them.

Which drawings there are, and on which side of the split, is what the built sources say (`python -m training
build-data`): there no concept and no near copy is on both sides. Their rows are flattened onto white, so that the
drawings themselves are taken from the packages again, by the names that the rows keep.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data.builders import clip_art, emoji, stamps
from training.data.builders.emoji_table import emoji_table
from training.data.builders.packages import unpack
from training.data.builders.pictures import Folders, Picture, Source
from training.data.builders.render import RenderError, cut_out, trim
from training.data.builders.write import read_pictures
from training.data.rows import DataError
from training.experts.errors import ExpertError

SIDE: Final = 96
"""Pixels along the longer side of a drawing that is kept as vectors."""
LEAST_COVER, MOST_COVER = 0.15, 0.92
"""Share of its own rectangle that a drawing covers. Less are lines, through which one sees; more is a picture with a
background of its own."""

SOURCES: Final[tuple[Source, ...]] = (emoji.SOURCE, clip_art.SOURCE, stamps.SOURCE)

# What a category is in each source: labels of emoji, folders of clip art and of stamps. None is a class of the scenes.
CATEGORIES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "bird": {"emoji": ("bird",), "clip_art": ("animals/birds/",), "tux_paint": ("animals/birds/",)},
    "mammal": {
        "emoji": ("mammal",),
        "clip_art": ("animals/mammals/",),
        "tux_paint": ("animals/mammals/", "animals/marsupials/"),
    },
    "sea animal": {
        "emoji": ("sea animal",),
        "clip_art": ("animals/fish/",),
        "tux_paint": ("animals/fish/", "animals/shellfish/"),
    },
    "insect": {"emoji": ("insect",), "clip_art": ("animals/bugs/",), "tux_paint": ("animals/insects/",)},
    "fruit": {"emoji": ("fruit",), "clip_art": ("food/fruit/",), "tux_paint": ("food/fruit/",)},
    "vegetable": {"emoji": ("vegetable",), "clip_art": ("food/vegetables/",), "tux_paint": ("food/vegetables/",)},
    "dessert": {"emoji": ("dessert",), "clip_art": ("food/desserts/",), "tux_paint": ("food/dessert/",)},
    "meal": {"emoji": ("meal",), "clip_art": ("food/breads_and_carbs/", "food/meats_and_eggs/")},
    "musical instrument": {
        "emoji": ("musical instrument",),
        "clip_art": ("recreation/music/",),
        "tux_paint": ("hobbies/music/",),
    },
    "piece of clothing": {"emoji": ("clothing",), "clip_art": ("people/clothing/",), "tux_paint": ("clothes/",)},
    "sports item": {"emoji": ("sports gear",), "clip_art": ("recreation/sports/",)},
    "face": {"emoji": ("smiley face",)},
    "hand": {"emoji": ("hand",)},
    "person": {"emoji": ("person",)},
    "tool": {"emoji": ("tool",)},
    "electronic device": {"emoji": ("electronic device",)},
}


@dataclass(frozen=True)
class Drawing:
    """One drawing. name: of its source and in it; category: one of `CATEGORIES`; test: on which side of the split;
    content: PNG with alpha, cut to what it shows."""

    name: str
    category: str
    test: bool
    content: bytes

    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8[h, w, 4]."""
        with Image.open(io.BytesIO(self.content)) as image:
            return np.array(image.convert("RGBA"))

    @property
    def digest(self) -> str:
        """sha256 of the content in hex."""
        return hashlib.sha256(self.content).hexdigest()


def category_of(source: str, picture: Picture) -> str | None:
    """Null for a drawing of no category."""
    for category, places in CATEGORIES.items():
        wanted = places.get(source, ())
        if picture.label in wanted if source == emoji.SOURCE.name else picture.name.startswith(wanted or ("\0",)):
            return category
    return None


def read_drawings(data: Path, packages: Path) -> list[Drawing]:
    """Every drawing of a category that has a usable outline, in the order of the built sources in `data`.

    `packages` is the folder where the packages were downloaded to; what is missing is fetched. Raises `DataError` for
    sources that are not built or packages that cannot be had, `ExpertError` if a category has none on one side.
    """
    found = []
    for source in SOURCES:
        wanted = _wanted(data, source)
        folders = {package.name: unpack(package, packages) for package in source.packages}
        for name, image in _cut_outs(source, folders, wanted.keys()):
            content = usable(image)
            if content is not None:
                category, test = wanted[name]
                found.append(Drawing(f"{source.name}/{name}", category, test, content))
    sides = {(each.category, each.test) for each in found}
    for category in CATEGORIES:
        for test in (False, True):
            if (category, test) not in sides:
                raise ExpertError(f"no {'test' if test else 'train'} drawing shows a {category}.")
    return found


def _wanted(data: Path, source: Source) -> dict[str, tuple[str, bool]]:
    """Category and side of the split by a drawing's name."""
    path = data / f"{source.name}.parquet"
    if not path.is_file():
        raise DataError(f"{path}: no such file; build it with `python -m training build-data --out {data}`")
    pictures = [(category_of(source.name, each), each) for each in read_pictures(path)]
    return {each.name: (category, each.test) for category, each in pictures if category is not None}


def usable(image: Image.Image) -> bytes | None:
    """PNG of an RGBA drawing, cut to what it shows, its longer side `SIDE` at most; null where it has no outline."""
    try:
        cut = trim(image, margin=0)
    except RenderError:
        return None
    if max(cut.size) > SIDE:
        cut = cut.convert("RGBa")
        cut.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        cut = cut.convert("RGBA")
    cover = float((np.asarray(cut)[..., 3] >= 128).mean())
    if not LEAST_COVER <= cover <= MOST_COVER:
        return None
    buffer = io.BytesIO()
    cut.save(buffer, "PNG")
    return buffer.getvalue()


def _cut_outs(source: Source, folders: Folders, names: Set[str]) -> Iterator[tuple[str, Image.Image]]:
    """The named drawings of a source; those that cannot be drawn are left out, as the built source does."""
    if source is emoji.SOURCE:
        yield from _emoji(folders, names)
        return
    for name in sorted(names):
        try:
            yield name, _file(source, folders, name)
        except RenderError:
            continue


def _file(source: Source, folders: Mapping[str, Path], name: str) -> Image.Image:
    if source is stamps.SOURCE:
        return stamps.stamp(folders[stamps.PACKAGE.name] / stamps.ROOT / name, SIDE)
    path = folders[clip_art.PACKAGE.name] / clip_art.ROOT / name
    return cut_out(path.read_text(encoding="utf-8", errors="replace"), SIDE)


def _emoji(folders: Folders, names: Set[str]) -> Iterator[tuple[str, Image.Image]]:
    styles = emoji.cut_outs(folders, SIDE)
    for one in emoji_table(folders):
        for style, cut in styles.items():
            name = emoji.row_name(one, style)
            if name in names and (image := cut(one)) is not None:
                yield name, image
