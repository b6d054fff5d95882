"""Emoji in five drawing styles, and in a sixth that no tower is trained on."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from PIL import Image

from training.data.builders.concepts import held_out, held_out_of_classes, with_article
from training.data.builders.emoji_table import GOOGLE, TABLE_PACKAGES, Emoji, emoji_table
from training.data.builders.iconify import IconSet, slug_of
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import SIDE, RenderError, cut_out, square, webp

TWITTER: Final = Package(
    "npm",
    "emoji-datasource-twitter",
    "16.0.0",
    "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
)
FLUENT: Final = Package(
    "npm", "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
)
NOTO_V1: Final = Package(
    "npm", "@iconify-json/noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"
)
EMOJIONE: Final = Package(
    "npm", "@iconify-json/emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"
)
OPENMOJI: Final = Package(
    "npm", "@iconify-json/openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"
)

UNSEEN_SHARE: Final = 0.2
"""Of the concepts: these are test rows in every style."""
SEEN_TEST_SHARE: Final = 0.5
"""Of OpenMoji's other concepts: test rows whose concept towers know, drawn in a way they do not."""

RENAMED: Final = frozenset({"cricket"})
"""Names that meant another emoji when the two old sets were drawn (the game, not the insect)."""

Draw = Callable[[Emoji], bytes | None]
"""An emoji's drawing in one style, null where the style lacks it; may raise `RenderError`."""
CutOut = Callable[[Emoji], Image.Image | None]
"""The same as RGBA, before anything is put behind it."""


def _from_files(folder: Path, suffix: str) -> CutOut:
    def cut(emoji: Emoji) -> Image.Image | None:
        for code in (emoji.code, emoji.code.replace("-FE0F", "")):
            path = folder / f"{code.lower()}{suffix}"
            if path.is_file():
                with Image.open(io.BytesIO(path.read_bytes())) as image:
                    return image.convert("RGBA")
        return None

    return cut


def _from_icons(path: Path, side: int) -> CutOut:
    icons = IconSet.read(path)

    def cut(emoji: Emoji) -> Image.Image | None:
        code, slug = emoji.code.lower(), slug_of(emoji.name)
        if icons.characters:
            candidates = [icons.characters.get(code), icons.characters.get(code.replace("-fe0f", ""))]
        elif slug in RENAMED or slug.startswith("keycap"):
            # Keycaps share one slug.
            return None
        else:
            # One set says "flag for" where the others say "flag".
            candidates = [slug, slug.replace("flag-", "flag-for-", 1)]
        found = next((one for one in candidates if one and one in icons), None)
        return None if found is None else cut_out(icons.svg(found), side)

    return cut


def _drawn(cut: CutOut) -> Draw:
    def draw(emoji: Emoji) -> bytes | None:
        image = cut(emoji)
        return None if image is None else webp(square(image))

    return draw


def cut_outs(folders: Folders, side: int = SIDE) -> dict[str, CutOut]:
    """The styles towers are trained on, by the words a caption uses for them. side: pixels of the larger side of what
    is drawn from vectors; the others come in the size that their package has."""
    return {
        "emoji": _from_files(folders[GOOGLE.name] / "package/img/google/64", ".png"),
        "flat emoji": _from_files(folders[TWITTER.name] / "package/img/twitter/64", ".png"),
        "3d emoji": _from_files(folders[FLUENT.name] / "package/assets", ".webp"),
        "old emoji": _from_icons(folders[NOTO_V1.name] / "package", side),
        "glossy emoji": _from_icons(folders[EMOJIONE.name] / "package", side),
    }


def styles(folders: Folders) -> dict[str, Draw]:
    """The drawings of `cut_outs` as rows hold them."""
    return {style: _drawn(cut) for style, cut in cut_outs(folders).items()}


def captions_of(emoji: Emoji, style: str) -> tuple[str, ...]:
    """What can be said about an emoji: always its name, and its class where it has one."""
    texts = [emoji.name, f"an emoji of {emoji.name}", f"{with_article(style)} of {emoji.name}"]
    if emoji.keywords:
        texts.append(", ".join((emoji.name, *emoji.keywords[:3])))
        texts.append(f"an emoji for {', '.join(emoji.keywords)}")
    if emoji.label:
        texts += [f"{emoji.name}, {with_article(emoji.label)}", f"an emoji of {with_article(emoji.label)}"]
    return tuple(dict.fromkeys(texts))


def row_name(emoji: Emoji, style: str) -> str:
    """What a row keeps as the name of its file."""
    return f"{style}/{emoji.code.lower()}"


def unseen_concepts(table: Sequence[Emoji]) -> frozenset[str]:
    """Concepts that no train row of any style shows."""
    classes: dict[str, str | None] = {}
    for emoji in table:
        classes[emoji.concept] = classes.get(emoji.concept) or emoji.label
    return held_out_of_classes(classes, UNSEEN_SHARE)


def _pictures(emoji: Emoji, drawings: dict[str, Draw], dropped: Dropped, *, test: bool) -> Iterator[Picture]:
    for style, draw in drawings.items():
        try:
            image = draw(emoji)
        except RenderError as error:
            dropped[f"cannot be drawn: {error}"] += 1
            continue
        if image is None:
            dropped[f"not in the style {style!r}"] += 1
            continue
        yield Picture(
            image=image,
            captions=captions_of(emoji, style),
            label=emoji.label,
            test=test,
            name=row_name(emoji, style),
            concept=emoji.concept,
            extra={"name": emoji.name, "style": style},
        )


def _table(folders: Folders) -> list[Emoji]:
    # Flags are a source of their own.
    return [emoji for emoji in emoji_table(folders) if not emoji.flag]


def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """Emoji in the trained styles; test rows are all pictures of the unseen concepts."""
    drawings, table = styles(folders), _table(folders)
    unseen = unseen_concepts(table)
    for emoji in table:
        yield from _pictures(emoji, drawings, dropped, test=emoji.concept in unseen)


def read_openmoji(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """OpenMoji; test rows are the unseen concepts and half of the others."""
    drawings = {"emoji": _drawn(_from_icons(folders[OPENMOJI.name] / "package", SIDE))}
    table = _table(folders)
    unseen = unseen_concepts(table)
    for emoji in table:
        novel = emoji.concept in unseen
        test = novel or held_out(f"openmoji {emoji.concept}", SEEN_TEST_SHARE)
        for picture in _pictures(emoji, drawings, dropped, test=test):
            yield replace(picture, extra={**picture.extra, "concept in other styles": "unseen" if novel else "seen"})


SOURCE = Source(
    name="emoji",
    packages=(*TABLE_PACKAGES, TWITTER, FLUENT, NOTO_V1, EMOJIONE),
    licence="Apache-2.0 (Noto), CC BY 4.0 (Twemoji, EmojiOne), MIT (Fluent; names, keywords)",
    attribution=(
        "Noto Emoji, Google; Twemoji, Twitter, Inc and other contributors; Fluent Emoji, Microsoft; EmojiOne 2.3 by"
        " Ranks.com Inc; names: Unicode CLDR by emojibase; keywords: emojilib"
    ),
    read=read,
    pool="drawings",
    broad_labels=True,
    withholds_from=("openmoji",),
)
OPENMOJI_SOURCE = Source(
    name="openmoji",
    packages=(*TABLE_PACKAGES, OPENMOJI),
    licence="CC BY-SA 4.0",
    attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org",
    read=read_openmoji,
    pool="drawings",
)
