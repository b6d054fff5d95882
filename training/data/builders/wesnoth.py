"""Unit sprites of the game Battle for Wesnoth: small figures, 72 pixels, each in a few poses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from training.data.builders.concepts import held_out_of_classes, with_article
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import RenderError, square, trim, webp

PACKAGE: Final = Package(
    "apt", "wesnoth-1.16-data", "1:1.16.9-1", "1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26"
)
TEST_SHARE: Final = 0.2

# The game's races under words that people use.
CLASSES: Final = {
    "bats": "bat",
    "drake": "dragon",
    "dunefolk": "human",
    "dwarf": "dwarf",
    "elf": "elf",
    "falcon": "bird",
    "goblin": "goblin",
    "gryphon": "gryphon",
    "horse": "horse",
    "human": "human",
    "lizard": "lizard",
    "mechanical": "ship",
    "merman": "merman",
    "monster": "monster",
    "naga": "snake person",
    "ogre": "ogre",
    "orc": "orc",
    "troll": "troll",
    "undead": "undead",
    "wolf": "wolf",
    "wose": "tree creature",
}
# Sprites carry magenta where the owner's colour goes (the game's own palette and ranges: middle, light, dark).
MAGENTA: Final = bytes.fromhex(
    "F49AC1 3F0016 55002A 690039 7B0045 8C0051 9E005D B10069 C30074 D6007F"
    "EC008C EE3D96 EF5BA1 F172AC F287B6 F6ADCD F8C1D9 FAD5E5 FDE9F1"
)
TEAMS: Final = {
    "red": ((255, 0, 0), (255, 255, 255), (0, 0, 0)),
    "blue": ((46, 65, 155), (255, 255, 255), (15, 15, 15)),
    "green": ((98, 182, 100), (255, 255, 255), (0, 0, 0)),
    "purple": ((147, 0, 157), (255, 255, 255), (0, 0, 0)),
}
# A death throe or one frame of a swing shows the unit badly; standing and aiming show it well.
_POSE: Final = re.compile(r"(\+female)?(-(?:ne|se|n|s|bow|sword|defend|axe|spear|staff|idle|run|melee|ranged))?(-?1)?")
_TOO_BIG: Final = 128


@dataclass(frozen=True, slots=True)
class Unit:
    """`stem`: the base sprite relative to the images folder, without its suffix."""

    name: str
    race: str
    stem: str


def recolour(image: Image.Image, team: str) -> Image.Image:
    """An RGBA sprite with its magenta in a team's colour: shades keep their place between dark, middle and light."""
    pixels = np.array(image)
    middle, light, dark = (np.array(colour, dtype=np.float64) for colour in TEAMS[team])
    reference = sum(MAGENTA[:3]) / 3
    for shade in (MAGENTA[start : start + 3] for start in range(0, len(MAGENTA), 3)):
        brightness = sum(shade) / 3
        end, share = (
            (dark, brightness / reference)
            if brightness <= reference
            else (light, (255 - brightness) / (255 - reference))
        )
        mask = (pixels[..., :3] == np.frombuffer(shade, np.uint8)).all(axis=-1)
        pixels[mask, :3] = np.round(share * middle + (1 - share) * end).astype(np.uint8)
    return Image.fromarray(pixels)


def units(core: Path) -> list[Unit]:
    """Every unit that the game's core names, once, in order of files."""
    found: dict[str, Unit] = {}
    for path in sorted((core / "units").rglob("*.cfg")):
        text = path.read_text(encoding="utf-8")
        folder = re.search(r"#define PATH_TEMP\s*\n(.*?)#enddef", text)
        head = text.split("[unit_type]", 1)[-1]
        name, race, image = (
            re.search(rf'^\s*{key}\s*=\s*(?:_\s*)?"?([^"\n]+)', head, re.MULTILINE) for key in ("name", "race", "image")
        )
        if not (name and race and image) or race[1].strip() not in CLASSES:
            continue
        # The name may carry a hint for translators before a caret; the image may carry drawing instructions.
        stem = image[1].replace("{PATH_TEMP}", folder[1].strip() if folder else "").split(".png")[0]
        found.setdefault(stem, Unit(name[1].split("^")[-1].strip().lower(), race[1].strip(), stem))
    return list(found.values())


def _poses(images: Path, unit: Unit) -> list[Path]:
    base = images / unit.stem
    found = base.parent.glob(f"{base.name}*.png")
    return sorted((path for path in found if _POSE.fullmatch(path.stem[len(base.name) :])), key=lambda path: path.name)


def captions_of(unit: Unit, *, female: bool) -> tuple[str, ...]:
    """What can be said about a sprite."""
    label = CLASSES[unit.race]
    who = f"female {unit.name}" if female else unit.name
    texts = (who, f"{with_article(who)}, a figure from a game", f"pixel art of {with_article(who)}")
    kind = f"pixel art of {with_article(label)}" if label != "undead" else "pixel art of the undead"
    return (*texts, f"{who}, {label}", kind)


def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """Sprites of every unit; test rows by unit, some of every race."""
    core = folders[PACKAGE.name] / "usr/share/games/wesnoth/1.16/data/core"
    listed = units(core)
    unseen = held_out_of_classes({unit.name: CLASSES[unit.race] for unit in listed}, TEST_SHARE, least=2)
    position = 0
    for unit in listed:
        poses = _poses(core / "images", unit)
        if not poses:
            dropped["unit without a sprite"] += 1
        for path in poses:
            with Image.open(path) as file:
                sprite = file.convert("RGBA")
            if max(sprite.size) > _TOO_BIG:
                dropped["not one figure"] += 1
                continue
            team = tuple(TEAMS)[position % len(TEAMS)]
            position += 1
            try:
                image = webp(square(trim(recolour(sprite, team))))
            except RenderError as error:
                dropped[f"cannot be drawn: {error}"] += 1
                continue
            yield Picture(
                image=image,
                captions=captions_of(unit, female="+female" in path.stem),
                label=CLASSES[unit.race],
                test=unit.name in unseen,
                name=path.relative_to(core / "images").as_posix(),
                concept=unit.name,
                extra={"team": team},
            )


SOURCE = Source(
    name="wesnoth",
    packages=(PACKAGE,),
    licence="GPL-2+",
    attribution="The Battle for Wesnoth Project and its artists",
    read=read,
    pool="drawings",
    broad_labels=True,
)
