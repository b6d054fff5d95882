"""Two icon sets: silhouettes from games in many colours, and interface icons in two."""

from collections.abc import Iterator
from typing import Final

from training.data.builders.concepts import concept_of, held_out_of_classes, spoken, with_article
from training.data.builders.iconify import IconSet
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import RenderError, drawing

GAME_ICONS: Final = Package(
    "npm", "@iconify-json/game-icons", "1.2.4", "f5758efb34d91c4f50b941f355f16ee73938625e5996fabc25171288404460a4"
)
ICON_PARK: Final = Package(
    "npm", "@iconify-json/icon-park", "1.2.4", "c1a25212a31602aca93c3fa6f6b3288e89b9d7811afc132dfd78506e9d586b6f"
)
TEST_SHARE: Final = 0.12

# A silhouette has no colour of its own; in one fixed pair a tower could tell the source by colour alone.
PAIRS: Final = (
    ("#000000", (255, 255, 255)),
    ("#ffffff", (0, 0, 0)),
    ("#1d3557", (241, 250, 238)),
    ("#7f1d1d", (254, 243, 199)),
    ("#f8fafc", (51, 65, 85)),
    ("#14532d", (220, 252, 231)),
)
# IconPark's folders under words that people use; what is left out there is no kind of thing.
ICON_PARK_CLASSES: Final = {
    "Animals": "animal",
    "Arrows": "arrow",
    "Brand": "logo",
    "Build": "building",
    "Charts": "chart",
    "Clothes": "clothing",
    "Emoji": "face",
    "Foods": "food",
    "Hands": "hand",
    "Hardware": "electronic device",
    "Money": "money",
    "Music": "music",
    "Peoples": "person",
    "Sports": "sport",
    "Time": "clock",
    "Weather": "weather",
}
_NUMBERS: Final = frozenset({"one", "two", "three", "four", "five", "six", "seven", "eight", "nine"})


def _concept(name: str) -> str:
    # "like two" is another drawing of "like".
    words = name.split()
    return concept_of(" ".join(words[:-1] if len(words) > 1 and words[-1] in _NUMBERS else words))


def _pictures(
    icons: IconSet, labels: dict[str, str], colours: tuple[tuple[str, tuple[int, int, int]], ...], dropped: Dropped
) -> Iterator[Picture]:
    names = {icon: spoken(icon) for icon in sorted(icons.icons)}
    kept = [icon for icon, name in names.items() if not name.startswith("abstract")]
    if len(kept) < len(names):
        dropped["abstract pattern"] += len(names) - len(kept)
    concepts = {icon: _concept(names[icon]) for icon in kept}
    unseen = held_out_of_classes({concept: labels.get(icon) for icon, concept in concepts.items()}, TEST_SHARE)
    for position, icon in enumerate(kept):
        colour, background = colours[position % len(colours)]
        try:
            image = drawing(icons.svg(icon, colour), background)
        except RenderError as error:
            dropped[f"cannot be drawn: {error}"] += 1
            continue
        name, label = names[icon], labels.get(icon)
        texts = [name, f"an icon of {name}", f"a symbol for {name}"]
        if label:
            texts += [f"{name}, {with_article(label)}", f"an icon of {with_article(label)}"]
        yield Picture(
            image=image,
            captions=tuple(texts),
            label=label,
            test=concepts[icon] in unseen,
            name=icon,
            concept=concepts[icon],
            extra={"name": name},
        )


def read_game_icons(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """Silhouettes; the colours go round in the order of names."""
    icons = IconSet.read(folders[GAME_ICONS.name] / "package")
    yield from _pictures(icons, {}, PAIRS, dropped)


def read_icon_park(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """Interface icons in black and blue on white, with a class where their folder is a kind of thing."""
    icons = IconSet.read(folders[ICON_PARK.name] / "package")
    labels = {
        icon: ICON_PARK_CLASSES[folder]
        for folder, members in icons.categories.items()
        if folder in ICON_PARK_CLASSES
        for icon in members
    }
    yield from _pictures(icons, labels, PAIRS[:1], dropped)


GAME_ICONS_SOURCE = Source(
    name="game_icons",
    packages=(GAME_ICONS,),
    licence="CC BY 3.0",
    attribution="Game-icons.net: Lorc, Delapouite and contributors",
    read=read_game_icons,
    pool="drawings",
)
ICON_PARK_SOURCE = Source(
    name="icon_park",
    packages=(ICON_PARK,),
    licence="Apache-2.0",
    attribution="IconPark, ByteDance",
    read=read_icon_park,
    pool="drawings",
    broad_labels=True,
)
