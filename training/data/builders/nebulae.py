"""Telescope photographs of galaxies, clusters and nebulae, as the planetarium Stellarium shows them."""

import gzip
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from training.data.builders.concepts import held_out_of_classes, with_article
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import photo_webp
from training.data.rows import DataError

PACKAGE: Final = Package(
    "apt", "stellarium-data", "0.22.2-1", "45aaebf39a814acbd6dcccea058c2f5651bcb5635599da03a215feeb51f4d5a5"
)
TEST_SHARE: Final = 0.25

# Stellarium's numbers for kinds of objects (class Nebula, enumeration NebulaType), under words that people use.
CLASSES: Final = {
    0: "galaxy",
    1: "galaxy",
    2: "galaxy",
    3: "galaxy",
    5: "star cluster",
    6: "star cluster",
    7: "globular cluster",
    8: "star cluster",
    11: "planetary nebula",
    12: "dark nebula",
    13: "reflection nebula",
    10: "emission nebula",
    14: "emission nebula",
    15: "emission nebula",
    16: "emission nebula",
    17: "emission nebula",
    18: "supernova remnant",
}
CATALOGUE_VERSION: Final = "3.16"
# File names begin with these; the catalogue's numbers stand in this order, and names.dat has these prefixes.
CATALOGUES: Final = {
    "n": (0, "NGC"),
    "ic": (1, "IC"),
    "m": (2, "M"),
    "barnard": (4, "B"),
    "sh2-": (5, "SH2"),
    "vdb": (6, "VDB"),
    "rcw": (7, "RCW"),
    "ldn": (8, "LDN"),
    "lbn": (9, "LBN"),
    "p": (12, "PGC"),
    "u": (13, "UGC"),
}
_FILE: Final = re.compile(r"(n|ic|m|barnard|sh2-|vdb|rcw|ldn|lbn|p|u)(\d+)(?!\d).*")
_HEAD: Final = struct.Struct(">i4di")
_MIDDLE: Final = struct.Struct(">2di6d14i")


def _skip_texts(data: bytes, at: int, count: int) -> int:
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data, at)
        at += 4 + (0 if length == 0xFFFFFFFF else length)
    return at


def read_catalogue(path: Path) -> dict[tuple[int, int], tuple[int, int]]:
    """(column of `CATALOGUES`, number there) to (object, kind of object), from Stellarium's catalog.dat.

    The file is a gzipped stream of Qt's QDataStream: two texts, then records in the order in which Nebula::readDSO
    reads them. Raises `DataError` for another version, or where the last record does not end with the file.
    """
    data = gzip.decompress(path.read_bytes())
    (length,) = struct.unpack_from(">I", data)
    version = data[4 : 4 + length].decode("utf-16-be", errors="replace")
    if version != CATALOGUE_VERSION:
        raise DataError(f"{path}: catalogue version {version!r}, not {CATALOGUE_VERSION}")
    at, objects = _skip_texts(data, 0, 2), {}
    try:
        while at < len(data):
            object_, *_, kind = _HEAD.unpack_from(data, at)
            at = _skip_texts(data, at + _HEAD.size, 1)
            numbers = _MIDDLE.unpack_from(data, at)[-14:]
            # Numbers in smaller catalogues: one text, two numbers, seven texts, five numbers.
            at = _skip_texts(data, at + _MIDDLE.size, 1)
            at = _skip_texts(data, at + 8, 7) + 20
            objects.update({(column, number): (object_, kind) for column, number in enumerate(numbers) if number})
    except struct.error as error:
        raise DataError(f"{path}: not a catalogue of version {CATALOGUE_VERSION}") from error
    if at != len(data):
        raise DataError(f"{path}: not a catalogue of version {CATALOGUE_VERSION}")
    return objects


def read_names(path: Path) -> dict[tuple[str, str], str]:
    """(prefix, number) to the first proper name in Stellarium's names.dat."""
    names: dict[tuple[str, str], str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        found = re.search(r'_\("([^"]+)"\)', line)
        if found and not line.startswith("#"):
            names.setdefault((line[:5].strip(), line[5:20].strip()), found[1])
    return names


def captions_of(label: str, name: str | None, designation: str) -> tuple[str, ...]:
    """What can be said about a photograph."""
    kind = with_article(label)
    texts = (f"a telescope photo of {kind}", f"{kind} in space", f"the {label} {designation}")
    return texts if name is None else (*texts, f"{name}, {kind}")


def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """One photograph per object that the catalogue knows; test rows by object, some of every kind."""
    root = folders[PACKAGE.name] / "usr/share/stellarium/nebulae/default"
    known, names = read_catalogue(root / "catalog.dat"), read_names(root / "names.dat")
    chosen: dict[int, tuple[Path, str, str, str | None]] = {}
    for path in sorted(root.glob("*.png"), key=lambda path: path.name):
        found = _FILE.fullmatch(path.stem)
        column, prefix = CATALOGUES[found[1]] if found else (-1, "")
        object_, kind = known.get((column, int(found[2])), (0, -1)) if found else (0, -1)
        if found is None or kind not in CLASSES:
            dropped["not one object of a known kind"] += 1
        elif object_ in chosen:
            dropped["another photograph of one object"] += 1
        else:
            chosen[object_] = (path, CLASSES[kind], f"{prefix} {found[2]}", names.get((prefix, found[2])))
    unseen = held_out_of_classes({designation: label for _, label, designation, _ in chosen.values()}, TEST_SHARE)
    for path, label, designation, name in chosen.values():
        with Image.open(path) as image:
            photo = photo_webp(image.convert("RGBA").convert("RGB"))
        yield Picture(
            image=photo,
            captions=captions_of(label, name, designation),
            label=label,
            test=designation in unseen,
            name=path.name,
        )


SOURCE = Source(
    name="nebulae",
    packages=(PACKAGE,),
    licence="GPL-2+ (package; photographs by the astronomers and observatories that its credits name)",
    attribution="Stellarium's default nebula textures",
    read=read,
)
