"""Tux Paint's stamps: cartoons and cut-out photographs, each with a sentence. No tower is trained on them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from training.data.builders.concepts import concept_of, first_fit, held_out, spoken
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import SIDE, RenderError, cut_out, square, trim, webp

PACKAGE: Final = Package(
    "apt", "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
TEST_SHARE: Final = 0.7

# Folders under words that make sense behind "a photo of a"; the first that fits counts.
CLASSES: Final = (
    ("animals", "animal"),
    ("clothes", "piece of clothing"),
    ("food", "food"),
    ("hobbies/music", "musical instrument"),
    ("household", "household item"),
    ("medical", "medical item"),
    ("military", "weapon"),
    ("people", "person"),
    ("plants", "plant"),
    ("seasonal", "holiday decoration"),
    ("space", "thing in space"),
    ("sports", "sports item"),
    ("symbols/money", "money"),
    ("symbols", "symbol"),
    ("town/flags", "flag"),
    ("town/roadsigns", "road sign"),
    ("town", "building"),
    ("vehicles", "vehicle"),
)
ROOT: Final = "usr/share/tuxpaint/stamps"
ALPHABETS: Final = "symbols/alphabets/"


def _sentence(path: Path) -> str:
    """The stamp's English sentence, else its file name in words."""
    text = path.with_suffix(".txt")
    lines = text.read_text(encoding="utf-8", errors="replace").splitlines() if text.is_file() else []
    return (lines[0].strip() if lines else "") or spoken(path.stem)


def stamp(path: Path, side: int = SIDE) -> Image.Image:
    """A stamp as RGBA, cut to what it shows; drawn from vectors, about `side` pixels along its longer side. Raises
    `RenderError`."""
    if path.suffix == ".svg":
        return cut_out(path.read_text(encoding="utf-8", errors="replace"), side)
    with Image.open(path) as image:
        return trim(image.convert("RGBA"))


def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """Stamps other than letters; test rows by what the file name says."""
    root = folders[PACKAGE.name] / ROOT
    paths = [path for path in root.rglob("*") if path.suffix in (".png", ".svg")]
    for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if name.startswith(ALPHABETS):
            dropped["letter"] += 1
            continue
        if path.stem.endswith("_mirror"):
            dropped["mirror image of another"] += 1
            continue
        try:
            image = webp(square(stamp(path)))
        except RenderError as error:
            dropped[f"cannot be drawn: {error}"] += 1
            continue
        concept = concept_of(spoken(re.sub(r"\d+", " ", path.stem)))
        yield Picture(
            image=image,
            captions=(_sentence(path),),
            label=first_fit(name, CLASSES),
            test=held_out(concept, TEST_SHARE),
            name=name,
            concept=concept,
        )


SOURCE = Source(
    name="tux_paint",
    packages=(PACKAGE,),
    licence="GPL-2",
    attribution="Tux Paint stamps, copyright 2002-2022 Bill Kendrick and contributors",
    read=read,
    pool="drawings",
)
