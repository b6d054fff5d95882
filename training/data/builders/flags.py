"""National flags: trained as emoji draw them, tested as plain rectangles by another hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data.builders.emoji import EMOJIONE, FLUENT, NOTO_V1, TWITTER, styles
from training.data.builders.emoji_table import TABLE_PACKAGES, Emoji, emoji_table
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import PHOTO_SIDE, RenderError, webp

ISO_FLAGS: Final = Package(
    "apt", "iso-flags-png-320x240", "1.0.2-2", "991cd465a366c38713e5ef1409c279841f64ce1043f21c6f064cb4516787aba0"
)
# Files named after something else than the two letters of ISO 3166, under the name that Unicode has for it.
OTHER_FILES: Final = {
    "_scotland": "Scotland",
    "_united_nations": "United Nations",
    "_wales": "Wales",
}
# Of territories whose plain flag is another country's (or, in this set, drawn as one), these keep it.
OWNERS: Final = frozenset(
    {"France", "Netherlands", "Norway", "United States", "Australia", "British Virgin Islands", "Sint Maarten"}
)
ALIKE: Final = 1.0
"""Mean difference per channel, over 0..255 at 24 by 16 pixels, below which two plain flags are one."""


def country_of(emoji: Emoji) -> str:
    """ "flag: Burkina Faso" without its first word."""
    return emoji.name.removeprefix("flag: ")


def iso_code(emoji: Emoji) -> str | None:
    """The two letters that a pair of regional indicators spells, in lower case; null for other flags."""
    points = [int(part, 16) for part in emoji.code.split("-")]
    if len(points) != 2 or not all(0x1F1E6 <= point <= 0x1F1FF for point in points):
        return None
    return "".join(chr(ord("a") + point - 0x1F1E6) for point in points)


def label_of(country: str) -> str:
    """The class: words that make sense behind "a photo of a"."""
    return f"flag of {country}"


def captions_of(country: str) -> tuple[str, ...]:
    """What can be said about a flag."""
    return (f"the flag of {country}", f"a flag of {country}", f"{country}, national flag", f"the {country} flag")


def _plain_flag(path: Path) -> bytes:
    """A flag as it is, 80 pixels high, over white where it is no rectangle."""
    with Image.open(path) as image:
        flag = image.convert("RGBA")
    size = (round(flag.width * PHOTO_SIDE / flag.height), PHOTO_SIDE)
    white = Image.new("RGBA", flag.size, "white")
    return webp(Image.alpha_composite(white, flag).convert("RGB").resize(size, Image.Resampling.LANCZOS))


def _thumbnail(path: Path) -> npt.NDArray[np.float32]:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((24, 16), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _listed(folders: Folders, dropped: Dropped) -> dict[str, tuple[Emoji, Path]]:
    """Countries that emoji and plain set both have, each with a plain flag of its own."""
    plain = folders[ISO_FLAGS.name] / "usr/share/iso-flags-png-320x240"
    others = {name: file for file, name in OTHER_FILES.items()}
    found: dict[str, tuple[Emoji, Path]] = {}
    for emoji in emoji_table(folders):
        if emoji.flag:
            path = plain / f"{others.get(country_of(emoji)) or iso_code(emoji)}.png"
            if path.is_file():
                found[country_of(emoji)] = (emoji, path)
            else:
                dropped["flag that only emoji have"] += 1
    dropped["flag that only the plain set has"] += len(list(plain.glob("*.png"))) - len(found)
    pictures = {country: _thumbnail(path) for country, (_, path) in found.items()}
    for country in [name for name in found if name not in OWNERS]:
        if any(np.abs(pictures[country] - pictures[owner]).mean() < ALIKE for owner in pictures if owner != country):
            dropped["country with another country's plain flag"] += 1
            del found[country], pictures[country]
    return found


def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """Train rows in every emoji style, test rows from the plain set."""
    drawings = styles(folders)
    for country, (emoji, path) in _listed(folders, dropped).items():
        for style, draw in drawings.items():
            try:
                image = draw(emoji)
            except RenderError as error:
                dropped[f"cannot be drawn: {error}"] += 1
                continue
            if image is not None:
                yield _picture(image, country, f"{style}/{emoji.code.lower()}", {"style": style}, test=False)
        yield _picture(_plain_flag(path), country, path.name, {"style": "plain"}, test=True)


def _picture(image: bytes, country: str, name: str, extra: dict[str, str], *, test: bool) -> Picture:
    return Picture(
        image=image,
        captions=captions_of(country),
        label=label_of(country),
        test=test,
        name=name,
        extra={"country": country, **extra},
    )


SOURCE = Source(
    name="flags",
    packages=(*TABLE_PACKAGES, TWITTER, FLUENT, NOTO_V1, EMOJIONE, ISO_FLAGS),
    licence="public domain (plain flags); Apache-2.0, CC BY 4.0 and MIT (emoji)",
    attribution="Flags by Brett Roper and the Linux Mint project; emoji as in the source emoji",
    read=read,
    pool="drawings",
    alike_within=True,
)
